"""Executed notebooks made fit to commit."""

import nbformat
import pytest
from made_notebooks import PARAMETERS, run, write

from unifeat.pipeline import notebooks
from unifeat.pipeline.clean_notebooks import strip_notebook
from unifeat.support.errors import UnifeatError

NOISY = """import sys
print("first of", __import__("os").path.abspath(".."))
print("1%\\r100%")
print("bar", file=sys.stderr)
print("second")
object()"""


def test_stripping_keeps_outputs_and_drops_the_traces_of_a_run(tmp_path):
    source = write(tmp_path / "notebooks.ipynb", NOISY)
    source = source.rename(tmp_path / "01_a.ipynb")
    texts = []
    for _ in range(2):
        run([source], tmp_path)
        strip_notebook(tmp_path / "executed" / source.name, source, tmp_path.parent)
        texts.append(source.read_text(encoding="utf-8"))
    assert texts[0] == texts[1], "a second run of the same code changes nothing"
    notebook = nbformat.read(source, as_version=4)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells] == ["# Title", PARAMETERS, NOISY]
    assert notebook.cells[1].metadata == {"tags": ["parameters"]}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    stream, value = notebook.cells[2].outputs
    assert stream.text == "first of .\n100%\nsecond\n"
    assert value.data["text/plain"] == "<object>"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))  # in order, whatever was run
    assert not [word for word in ("papermill", "iopub", str(tmp_path.parent)) if word in texts[0]]


def test_stripping_refuses_a_notebook_that_failed_was_edited_or_never_ran(tmp_path):
    source, executed = tmp_path / "01_a.ipynb", tmp_path / "executed" / "01_a.ipynb"
    with pytest.raises(UnifeatError, match="has not been run; run 'make figures' first"):
        strip_notebook(executed, source, tmp_path)
    with pytest.raises(notebooks.NotebookError):
        run([write(source, "1 / 0")], tmp_path)
    with pytest.raises(UnifeatError, match="failed when it was last run"):
        strip_notebook(executed, source, tmp_path)
    run([write(source, "1")], tmp_path)
    write(source, "2")
    with pytest.raises(UnifeatError, match="has been edited since it was last run"):
        strip_notebook(executed, source, tmp_path)
