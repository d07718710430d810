"""The artefact store: a folder per result, named by what it was computed from.

An artefact's key is the hash of (configuration, keys of its inputs, code of its stage). It is written under a
temporary name in the same folder, its files are fsynced and listed in a manifest with sizes and sha256, and one
rename publishes it; whatever is there under a final name is therefore whole. Sizes are checked at every load,
hashes by `verify`.
"""

import ast
import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from unifeat.errors import UnifeatError

MANIFEST = "manifest.json"
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class StoreError(UnifeatError):
    """The store cannot be read or written."""


@dataclass(frozen=True)
class Artefact:
    """A finished result: `folder` holds its files, `key` names it, `seconds` is what it cost to make."""

    folder: Path
    key: str
    seconds: float


def digest(*parts) -> str:
    """Hash of JSON-able parts and dataclasses, 16 hexadecimal digits.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=_plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value):
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def code_version(*modules) -> str:
    """Hash of the modules' code without comments and docstrings, so that prose changes keep the store valid."""
    paths = [Path(module.__file__) for module in modules]
    return digest([_code(path, path.stat().st_mtime_ns) for path in paths])


@functools.lru_cache(maxsize=128)
def _code(path: Path, _changed: int) -> str:
    """A module without prose; parsed again only when its file has changed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (isinstance(body, list) and body and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str)):
            node.body = body[1:]
    return ast.dump(tree)


def make(root: Path, stage: str, build: Callable[[Path], None], *, config=None, inputs=(), code="") -> Artefact:
    """The artefact of `stage` with this configuration, inputs (artefacts) and code: found, or built now.

    build(folder) writes files (no subfolders deeper than one are needed) into an empty temporary folder.

    Raises:
        StoreError: the store cannot be written (permission, full disk).
    """
    key = digest(stage, config, [item.key for item in inputs], code)
    final = root / f"{stage}-{key}"
    with _writing(root):
        (root / ".locks").mkdir(parents=True, exist_ok=True)
    with _locked(root / ".locks" / final.name, stage):
        if (found := load(final)) is not None:
            return found
        with _writing(root):
            work = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=root))
            try:
                start = time.perf_counter()
                build(work)
                _seal(work, dict(stage=stage, key=key, config=json.loads(json.dumps(config, default=_plain)),
                                 inputs=[item.key for item in inputs], code=code,
                                 seconds=round(time.perf_counter() - start, 3)))
                shutil.rmtree(final, ignore_errors=True)  # a damaged artefact of the same key
                os.rename(work, final)
                _sync(root)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return load(final)


def load(folder: Path) -> Artefact | None:
    """The artefact in `folder` if it is complete (manifest readable, every file present with its size)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
        return Artefact(folder, manifest["key"], manifest["seconds"]) if whole else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def verify(root: Path) -> list[str]:
    """Names of artefacts under `root` with a missing file or a file whose sha256 is not the recorded one."""
    bad = []
    for folder in sorted(path for path in root.glob("[!.]*") if path.is_dir()):
        artefact = load(folder)
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"] if artefact else {}
        if not artefact or any(_sha256(folder / name) != entry["sha256"] for name, entry in files.items()):
            bad.append(folder.name)
    return bad


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all, and leave it untouched if it already holds `text`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for bytes."""
    if path.is_file() and path.read_bytes() == data:
        return
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _writing(folder: Path):
    """Failures of the disk, as one sentence (safetensors reports them in words, not as an OSError)."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else errno.ENOSPC if "os error 28" in str(error) else None
        if number not in DISK:
            raise
        raise StoreError(f"Cannot write to {folder}: {os.strerror(number)}; free some space or permission, or "
                         "point UNIFEAT_STORE at another folder, then run the same command again.") from error


@contextlib.contextmanager
def _locked(path: Path, stage: str):
    """One builder of an artefact at a time, across processes; the operating system frees a dead owner's lock."""
    lock = FileLock(path)
    with _writing(path.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"Waiting for another process that is computing {stage} ...", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _seal(folder: Path, manifest: dict) -> None:
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files[path.relative_to(folder).as_posix()] = dict(bytes=path.stat().st_size, sha256=_sha256(path))
        _sync(path)
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}, indent=1) + "\n", encoding="utf-8")
    _sync(folder / MANIFEST)
    _sync(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
