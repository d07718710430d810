"""Notebooks made on the spot, and how they tell what they saved."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from unifeat.pipeline import notebooks

PARAMETERS = 'LINEAGE = "laptop"  # which lineage\nCORPORA = ""  # which corpora'


def write(path: Path, *cells: str) -> Path:
    """A notebook of title, parameters and the given code cells."""
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(metadata=metadata, cells=[
        new_markdown_cell("# Title"), parameters, *map(new_code_cell, cells)]), path)
    return path


def saving(*names: str, files=()) -> str:
    """A cell that says that it saved figures, as `provenance.wrote` does, without waiting for torch."""
    lines = "".join(json.dumps([name, *map(str, files)]) + "\n" for name in names)
    return f"import os\nopen(os.environ['UNIFEAT_SAVED'], 'a').write({lines!r})"


def run(paths, folder: Path):
    """What happened to each of the notebooks, run one after another in `folder`."""
    seen = []
    notebooks.run_notebooks(paths, folder / "executed", {"LINEAGE": "smoke", "CORPORA": ""}, seen.append, "state")
    return seen
