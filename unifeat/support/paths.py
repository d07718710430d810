"""Where a run keeps its things: in a clone of the repository inside it, else in the user's cache."""

import os
from pathlib import Path

from unifeat.support.errors import UnifeatError

ROOT = Path(__file__).resolve().parents[2]


def run_name(lineage: str, corpora: str, models: str = "", hook: str = "") -> str:
    """Short name of a run, for folders.

    >>> run_name("laptop", ""), run_name("smoke", "/data/mine"), run_name("/x/own.toml", "hub")
    ('laptop', 'smoke-mine', 'own-hub')
    >>> run_name("laptop", "", "a=/m/pythia,b=/m/ft", "blocks.2.hook_mlp_out")
    'laptop-pythia+ft-blocks.2.hook_mlp_out'
    """
    names = [Path(item.split("=")[-1].strip()).name for item in models.split(",")]
    return "-".join(filter(None, (Path(lineage).stem, Path(corpora).name, "+".join(names), hook)))


def figures(lineage: str, corpora: str, models: str = "", hook: str = "") -> Path:
    """figures/ for the run that is committed, a folder below it for any other; UNIFEAT_FIGURES overrides."""
    if own := os.environ.get("UNIFEAT_FIGURES"):
        return Path(own).expanduser().resolve()
    committed = (lineage, corpora) in (("laptop", ""), ("laptop", "embedded")) and not models and not hook
    return ROOT / "figures" / ("" if committed else run_name(lineage, corpora, models, hook))


def store() -> Path:
    """The artefact store: build/store of a clone, else ~/.cache/unifeat/store; UNIFEAT_STORE overrides."""
    return Path(os.environ.get("UNIFEAT_STORE") or _work() / "store").expanduser().resolve()


def notebooks() -> Path:
    """Executed notebooks: build/notebooks of a clone; where UNIFEAT_STORE is set, beside that store."""
    own = os.environ.get("UNIFEAT_STORE")
    return store().with_name(f"{store().name}-notebooks") if own else _work() / "notebooks"


def writable(folder: Path, name: str) -> None:
    """Refuse a folder that this user may not write to. name: the variable that puts it elsewhere.

    Raises:
        UnifeatError: so.
    """
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise UnifeatError(f"{folder} cannot be written to; set {name} to a folder of yours and run the command again.")


def downloads() -> Path:
    """What is fetched: build/downloads of a clone, else ~/.cache/unifeat/downloads; UNIFEAT_DOWNLOADS overrides."""
    return Path(os.environ.get("UNIFEAT_DOWNLOADS") or _work() / "downloads").expanduser().resolve()


def _work() -> Path:
    """build/ of a clone; an installed package has none, and its work is kept in the user's cache."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "build"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "unifeat")


def relative(path: Path) -> str:
    """The path as a reader of the repository knows it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
