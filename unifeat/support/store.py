"""The artefact store: a folder per result, named by what it was computed from.

An artefact's key is the hash of (configuration, keys of its inputs, code of its stage). It is written in a hidden
work folder, its files are fsynced and listed in a manifest with sizes and sha256, and one rename publishes it;
whatever is there under a final name is therefore whole. Sizes are checked at every load, hashes by `faults`.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unifeat.support import locks
from unifeat.support.locks import StoreError  # noqa: F401 - what callers of this module catch

MANIFEST, CHECKPOINT = "manifest.json", "checkpoint"


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


def make(root: Path, stage: str, build: Callable[[Path], None], *, config=None, inputs=(), code="") -> Artefact:
    """The artefact of `stage` with this configuration, inputs (artefacts) and code: found, or built now.

    build(folder) writes files (no subfolders deeper than one are needed) into the artefact's own work folder. That is
    empty but for what a build that was killed or failed had saved in folder/checkpoint, to be continued from, which is
    no part of the artefact. An artefact that is damaged or not what its name says is named on stderr and built again.

    Raises:
        StoreError: the store cannot be read or written (permission, full disk).
    """
    key = digest(stage, config, [item.key for item in inputs], code)
    final, work = root / f"{stage}-{key}", root / f".{stage}-{key}"
    facts = dict(stage=stage, key=key, config=json.loads(json.dumps(config, default=_plain)),
                 inputs=[item.key for item in inputs], code=code)
    _note(final.name)
    with locks.sentence(root):
        if (found := load(final)) is not None:  # without the lock, so that a store that is read-only can be read
            return found
        with locks.locked(root, final.name):
            if (found := load(final)) is not None:
                return found
            if os.path.lexists(final):
                print(f"{final.name} in the store cannot be used ({fault(final)}) and is computed again.",
                      file=sys.stderr, flush=True)
            try:
                _publish(work, final, build, facts)
            except BaseException:
                with contextlib.suppress(OSError):  # what cannot be removed now is removed by the next build
                    _wipe(work)
                    work.rmdir()
                raise
        return load(final)


def _publish(work: Path, final: Path, build: Callable[[Path], None], facts: dict) -> None:
    _wipe(work)
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    build(work)
    _seal(work, dict(**facts, seconds=round(time.perf_counter() - start, 3)))
    locks.remove(work / CHECKPOINT)
    locks.remove(final)
    os.rename(work, final)
    locks.sync(final.parent)


def _wipe(work: Path) -> None:
    """Remove all that is in the work folder but its checkpoint."""
    if work.is_symlink() or not work.is_dir():
        locks.remove(work)
    for path in work.glob("*"):
        if path.name != CHECKPOINT:
            locks.remove(path)


def load(folder: Path) -> Artefact | None:
    """The artefact in `folder` if it is complete (a manifest of its own, every file present with its size)."""
    manifest = _manifest(folder)
    return None if _fault(folder, manifest) else Artefact(folder, manifest["key"], manifest["seconds"])


def artefacts(root: Path) -> list[Path]:
    """Everything under `root` that has the name of a finished artefact."""
    return sorted(path for path in root.glob("[!.]*") if re.search(r"-[0-9a-f]{16}$", path.name))


def faults(root: Path) -> dict[str, str]:
    """Artefacts under `root` with a missing, changed or foreign file, and what is wrong; reads every byte of them."""
    return {folder.name: wrong for folder in artefacts(root) if (wrong := fault(folder, full=True))}


def fault(folder: Path, full: bool = False) -> str:
    """What is wrong with the artefact in `folder`, "" if nothing; `full` reads every byte and finds foreign files."""
    try:
        return _fault(folder, _manifest(folder), full)
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read: {error.strerror}"


def _manifest(folder: Path):
    """The parsed manifest, whatever it is; None if there is none or it cannot be parsed."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None


def _fault(folder: Path, manifest, full: bool = False) -> str:
    try:
        if folder.name != f"{manifest['stage']}-{manifest['key']}" or not isinstance(manifest["seconds"], float | int):
            return "its manifest is of another artefact"
        for name, entry in manifest["files"].items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if (size := (folder / name).stat().st_size) != entry["bytes"]:
                return f"{name} has {size:,} bytes and not {entry['bytes']:,}"
            if full and sha256(folder / name) != entry["sha256"]:
                return f"{name} has other content than was written"
        foreign = sorted(set(_files(folder)) - {MANIFEST, *manifest["files"]}) if full else []
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or damaged"
    except OSError as error:
        if error.errno in locks.ERRORS:  # the disk's fault, and maybe a passing one
            raise
        return f"{MANIFEST} names an impossible file"
    return f"{foreign[0]} was added to it" if foreign else ""


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all, and leave it untouched if it already holds `text`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for bytes."""
    if path.is_file() and path.read_bytes() == data:
        return
    with locks.sentence(path.parent):
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


def _note(name: str) -> None:
    """Add `name` to what this run has asked for, if that is kept (see `maintenance`)."""
    if path := os.environ.get("UNIFEAT_ASKED"):
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")


def _seal(folder: Path, manifest: dict) -> None:
    """Write the manifest of all that is in `folder`; its files and itself are then on the disk."""
    files = {}
    for name in _files(folder):
        if not name.startswith(f"{CHECKPOINT}/"):
            _check_array(folder / name)
            files[name] = dict(bytes=(folder / name).stat().st_size, sha256=sha256(folder / name))
            locks.sync(folder / name)
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}, indent=1) + "\n", encoding="utf-8")
    locks.sync(folder / MANIFEST)
    locks.sync(folder)


def _check_array(path: Path) -> None:
    """A disk that is full when numpy.save writes the last bytes of an array goes unnoticed there; here not."""
    if path.suffix == ".npy":
        import numpy

        try:
            numpy.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def sha256(path: Path) -> str:
    """Hash of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
