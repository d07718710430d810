"""Where a run keeps its things: all folders derive from the repository's own place."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
    """The artefact store: build/store, or UNIFEAT_STORE."""
    return Path(os.environ.get("UNIFEAT_STORE") or ROOT / "build" / "store").expanduser().resolve()


def downloads() -> Path:
    """Archives of the embedded corpora: build/downloads, or UNIFEAT_DOWNLOADS."""
    return Path(os.environ.get("UNIFEAT_DOWNLOADS") or ROOT / "build" / "downloads").expanduser().resolve()


def relative(path: Path) -> str:
    """The path as a reader of the repository knows it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
