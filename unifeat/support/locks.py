"""The disk under the store: its failures as one sentence, locks that name their owner, removal."""

import collections
import contextlib
import errno
import json
import os
import re
import shutil
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout

from unifeat.support.errors import UnifeatError

ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
          errno.EMFILE, errno.ENFILE}

NO_LOCKS = {None, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}  # None: filelock's NotImplementedError


class StoreError(UnifeatError):
    """The store cannot be read or written."""


@contextlib.contextmanager
def sentence(folder: Path):
    """Within, a failure of the disk under `folder` is raised as a StoreError."""
    try:
        yield
    except Exception as error:
        if (number := _number(error)) not in ERRORS:
            raise
        raise StoreError(f"Cannot use {folder}: {os.strerror(number)}; free some space or permission, or point "
                         "UNIFEAT_STORE at another folder, then run the same command again.") from error


def _number(error: Exception) -> int | None:
    """The errno; safetensors and tokenizers tell it in words, numpy only that less was written than asked for."""
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return int(found[1])
    if isinstance(error, OSError):
        return errno.ENOSPC if re.fullmatch(r"\d+ requested and \d+ written", str(error)) else error.errno
    return None


_HERE = collections.Counter()  # threads of this process that hold a lock or wait for it


@contextlib.contextmanager
def locked(root: Path, name: str, wait: bool = True):
    """One builder of the artefact `name` at a time, across processes; yields whether the lock was had.

    The lock is the operating system's: it goes with its owner, however that dies, on one host and on network drives
    that support flock. A second process waits and says for whom, unless told not to `wait`; a second thread just waits.
    """
    folder = root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / name), folder / f"{name}.owner"
    _HERE[owner] += 1
    try:
        try:
            _acquire(lock, folder, timeout=0)
        except Timeout:
            if not wait:
                yield False
                return
            if _HERE[owner] == 1:
                print(f"Waiting for {_owner(owner)} to finish {name.rpartition('-')[0]} ...", flush=True)
            _acquire(lock, folder)
        try:
            owner.write_text(json.dumps(dict(pid=os.getpid(), host=socket.gethostname(), since=time.time())))
            yield True
        finally:
            with contextlib.suppress(OSError):
                owner.unlink()
            lock.release()
    finally:
        _HERE[owner] -= 1


def _acquire(lock, folder: Path, **options) -> None:
    """Raises StoreError where the drive has no locks."""
    try:
        lock.acquire(**options)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, Timeout) or getattr(error, "errno", None) not in NO_LOCKS:
            raise
        raise StoreError(f"The drive of {folder} has no file locks ({error}); point UNIFEAT_STORE at a folder on a "
                         "local disk, then run the same command again.") from error


def _owner(path: Path) -> str:
    """Who holds a lock and since when, as far as it is recorded."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
        age = max(0, time.time() - owner["since"])  # a clock may have been put back
        return f"process {owner['pid']} on {owner['host']} (since {since}, {age:.0f} s ago)"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # it has just come or gone
        return "another process"


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What is written to `path`, a file or a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
