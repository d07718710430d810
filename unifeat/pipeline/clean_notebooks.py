"""Executed notebooks made fit to commit: their outputs stay, what differs from run to run goes."""

import itertools
import re
from pathlib import Path

import nbformat

from unifeat.support.errors import UnifeatError

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that papermill adds
ANSWER = "**Answer.**"  # what follows it in the first cell is written from the tables
TRANSIENT = {"papermill", "execution", "ExecuteTime", "scrolled"}  # metadata of a cell that tell of one run


def strip_notebook(executed: Path, source: Path, root: Path, answer: str = "") -> None:
    """Write the notebook `executed` to `source`, the notebook it was run from, without traces of the run.

    Its prose is that of `source`, with `answer` (unless "") in the first cell.

    Dropped: papermill's cells and metadata, timings, the kernel's execution counts, stderr (progress bars), memory
    addresses and the absolute path of the repository `root`. Applied again, it changes nothing.

    Raises:
        UnifeatError: the executed notebook is missing, failed, or differs from `source` in its code.
    """
    if not executed.is_file():
        raise UnifeatError(f"{executed.name} has not been run; run 'make figures' first.")
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not ADDED & set(cell.metadata.get("tags", []))]
    if any(item.output_type == "error" for cell in notebook.cells for item in cell.get("outputs", [])):
        raise UnifeatError(f"{executed.name} failed when it was last run; correct it and run 'make figures'.")
    if source.is_file():
        written = nbformat.read(source, as_version=4)
        if _sources(notebook) != _sources(written):
            raise UnifeatError(f"{source.name} has been edited since it was last run; run 'make figures' first.")
        for cell, own in zip(notebook.cells, written.cells, strict=True):
            cell.source = own.source
    if notebook.cells:
        notebook.cells[0].source = with_answer(notebook.cells[0].source, answer)
    runs = itertools.count(1)  # nbval wants a number on every cell that has outputs
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in TRANSIENT}
        if cell.cell_type == "code":
            cell.execution_count = next(runs)
            cell.outputs = _outputs(cell.outputs, root)
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    source.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")


def answer_notebook(source: Path, answer: str) -> None:
    """Write `answer` into the first cell of a notebook and leave everything else as it is."""
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[0].source = with_answer(notebook.cells[0].source, answer)
    source.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")


def with_answer(cell: str, text: str) -> str:
    """A first cell with its answer replaced.

    >>> with_answer("# T\\n\\n**Question.** Why?\\n\\n**Answer.** Old.", "Because of 3.")
    '# T\\n\\n**Question.** Why?\\n\\n**Answer.** Because of 3.'
    """
    return cell[:cell.index(ANSWER)] + f"{ANSWER} {text}" if text and ANSWER in cell else cell


def _sources(notebook) -> list[tuple[str, str]]:
    """What a run depends on: the cells in order, of prose only that it is there."""
    return [(cell.cell_type, cell.source if cell.cell_type == "code" else "") for cell in notebook.cells]


def _outputs(outputs: list, root: Path) -> list:
    """Outputs without stderr; neighboring pieces of stdout are one, since how they were cut is chance."""
    kept = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _clean(output.text, root)
        output.get("data", {}).pop(WIDGET, None)  # a live widget; its static twin stays
        for kind, value in output.get("data", {}).items():
            if isinstance(value, str) and not kind.startswith("image/"):
                output.data[kind] = _clean(value, root)
    return kept


def _clean(text: str, root: Path) -> str:
    """Text without the repository's place on this disk and without memory addresses.

    >>> _clean("saved /a/b/figures/x.pdf in /a/b\\n<object at 0x7f00>\\n 10%\\r100%\\n", Path("/a/b"))
    'saved figures/x.pdf in .\\n<object>\\n100%\\n'
    """
    text = text.replace(f"{root}/", "").replace(str(root), ".")
    return re.sub(r"[^\n\r]*\r(?!\n)", "", re.sub(r" at 0x[0-9a-fA-F]+", "", text))
