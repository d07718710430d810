"""Upkeep of the store: `make verify` reads every byte of it, `make gc` removes what no recent run asked for.

While `make figures` or `make controls` runs, the store writes the name of every result it is asked for into
.runs/<run>.<number>.part. When the run ends, that list becomes .runs/<run> and replaces the one of the last such run. A
result is unused if no list has it: neither the last finished run of any lineage and text, nor a run that is still going
or was killed. Work folders and checkpoints of unfinished builds count in the same way. A run asks for its inputs as
well, so inputs need no tracing, and no clock is read. What was only ever made in JupyterLab is in no list: it counts as
unused.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from unifeat.support import locks, store

LISTS = ".runs"
WORK = re.compile(r"\.(.+-[0-9a-f]{16})(-\w+)?")  # the work folder of an artefact


@contextlib.contextmanager
def asking(root: Path, run: str) -> Iterator[list]:
    """Within, notes what this process and its children ask the store for.

    Yields an empty list; what is put into it says that the run did not ask for all it needs (a notebook was left
    out), and the last run's list stays a part of this one's.
    """
    part = root / LISTS / f"{run}.{secrets.token_hex(4)}.part"
    left_out: list = []
    with contextlib.suppress(OSError):  # in a store that is read-only no list is kept
        part.parent.mkdir(parents=True, exist_ok=True)
    os.environ["UNIFEAT_ASKED"] = str(part)
    try:
        yield left_out
    finally:
        del os.environ["UNIFEAT_ASKED"]
    with contextlib.suppress(OSError):
        last = part.with_name(run)
        if left_out and last.is_file():
            with part.open("a", encoding="utf-8") as file:
                file.write(last.read_text(encoding="utf-8"))
        os.replace(part, last)
        for path in part.parent.iterdir():  # of runs that were killed
            if re.fullmatch(rf"{re.escape(run)}\.\w+\.part", path.name):
                path.unlink()


def unused(root: Path) -> list[Path]:
    """Artefacts and work folders that stand in no list; artefacts only once a run has finished."""
    lists = list((root / LISTS).glob("*"))
    asked = {name for path in lists for name in path.read_text(encoding="utf-8").split()}
    finished = any(path.suffix != ".part" for path in lists)
    work = [path for path in root.glob(".*") if (match := WORK.fullmatch(path.name)) and match[1] not in asked]
    return [path for path in store.artefacts(root) if finished and path.name not in asked] + sorted(work)


def gc(root: Path, apply: bool = False) -> int:
    """List what is unused with its size and remove it if told to; what is being computed just now stays.

    Raises:
        StoreError: a folder cannot be read or removed.
    """
    total = 0
    with locks.sentence(root):
        for path in unused(root):
            name = path.name if path.name[0] != "." else WORK.fullmatch(path.name)[1]
            size = _size(path)
            with locks.locked(root, name, wait=False) if apply else contextlib.nullcontext(True) as free:
                if free and apply:
                    locks.remove(path)
            print(f"{size / 1e6:10,.1f} MB  {path.name}{'' if free else '  (in use, kept)'}")
            total += size * free
    does = "removed" if apply else "unused; make gc APPLY=1 removes them"
    print(f"{total / 1e6:10,.1f} MB in {root} {does}.")
    return 0


def verify(root: Path) -> int:
    """Read every byte of the store and name what is damaged; exit status 1 if anything is."""
    found, bad = store.artefacts(root), store.faults(root)
    for name, fault in bad.items():
        print(f"{name}: {fault}")
    size = sum(map(_size, found)) / 1e6
    if bad:
        print(f"{len(bad)} of {len(found)} artefacts ({size:,.1f} MB) in {root} are damaged; delete the folders named "
              "above, and the next run computes them again.")
    else:
        print(f"All {len(found)} artefacts ({size:,.1f} MB) in {root} are whole.")
    return int(bool(bad))


def _size(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    return sum(item.lstat().st_size for item in (path, *path.rglob("*")) if item.is_file())
