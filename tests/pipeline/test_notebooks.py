"""Running and stripping notebooks, on tiny ones made here."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from unifeat import __main__ as cli
from unifeat.lineage import settings
from unifeat.pipeline import notebook_cache, notebooks
from unifeat.pipeline.clean_notebooks import strip_notebook
from unifeat.support import paths
from unifeat.support.errors import UnifeatError

PARAMETERS = 'PROFILE = "laptop"  # which profile\nCORPORA = ""  # which corpora'
SAVE = "from unifeat import report\nfor name in '{}'.split():\n    report.wrote(name)"


def write(path: Path, *cells: str) -> Path:
    """A notebook of title, parameters and the given code cells."""
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(metadata=metadata, cells=[
        new_markdown_cell("# Title"), parameters, *map(new_code_cell, cells)]), path)
    return path


def run(paths, tmp_path):
    seen = []
    notebooks.run_notebooks(paths, tmp_path / "executed", {"PROFILE": "smoke", "CORPORA": ""}, seen.append,
                         "state")
    return seen


def test_only_notebooks_of_which_something_changed_run_again(tmp_path):
    figure = tmp_path / "fig.txt"
    saving = f"open({str(figure)!r}, 'w').write('a')\nfrom unifeat import report\nreport.wrote('fig', {str(figure)!r})"
    first, second = write(tmp_path / "01_a.ipynb", saving), write(tmp_path / "02_b.ipynb", "1")

    def ran(state="state", again=False):
        seen = []
        notebooks.run_notebooks([first, second], tmp_path / "executed", {}, seen.append, state, again)
        assert [outcome.saved for outcome in seen] == [("fig",), ()]
        return [outcome.name for outcome in seen if outcome.ran]

    both = ["01_a", "02_b"]
    assert ran() == both and ran() == []
    figure.write_text("b")
    assert ran() == ["01_a"] and figure.read_text() == "a" and ran() == []
    figure.unlink()
    assert ran() == ["01_a"] and ran() == []
    write(second, "2")
    assert ran() == ["02_b"]
    (tmp_path / "executed" / "01_a.ipynb").unlink()
    assert ran() == ["01_a"]
    (tmp_path / "executed" / ".02_b.json").write_text("{")
    assert ran() == ["02_b"] and ran(again=True) == both and ran(state="other code") == both


def test_a_failed_notebook_runs_again(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "1 / 0")
    for _ in range(2):
        with pytest.raises(notebooks.NotebookError, match="ZeroDivisionError"):
            run([path], tmp_path)


def test_state_names_profile_text_code_and_settings(tmp_path, monkeypatch):
    smoke = settings.load("smoke")
    states = {notebook_cache.state(smoke, {}), notebook_cache.state(settings.load("laptop"), {}), notebook_cache.state(smoke, {"A": 1})}
    monkeypatch.setenv("EXPLAINER", "llm")
    states.add(notebook_cache.state(smoke, {}))
    for name in settings.DOMAINS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("text")
    files = settings.choose("smoke", str(tmp_path))
    states.add(notebook_cache.state(files, {}))
    (tmp_path / "lua" / "a.txt").write_text("another text")
    states.add(notebook_cache.state(files, {}))
    monkeypatch.setattr(notebook_cache, "code", lambda: "other")
    states.add(notebook_cache.state(files, {}))
    assert len(states) == 7


def text_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_notebooks_run_in_order_with_parameters_in_their_own_folder_and_interpreter(tmp_path):
    where = "import sys, os\nprint(PROFILE, os.getcwd(), sys.executable, sep=os.linesep)"
    second = write(tmp_path / "02_b.ipynb", where, *(SAVE.format(name) for name in ("fig2", "fig1", "fig2")))
    first = write(tmp_path / "01_a.ipynb", where)
    write(tmp_path / "notes.ipynb", "1 / 0")
    seen = run(notebooks.find_notebooks(tmp_path), tmp_path)
    assert [outcome.name for outcome in seen] == ["01_a", "02_b"]
    assert [outcome.saved for outcome in seen] == [(), ("fig2", "fig1")]
    assert all(0 < outcome.seconds < 60 for outcome in seen)
    for path in (first, second):
        assert text_of(tmp_path / "executed" / path.name).splitlines() == ["smoke", str(tmp_path), sys.executable]


def test_a_kernel_registered_elsewhere_under_the_same_name_is_not_used(tmp_path, monkeypatch):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    kernel = {"argv": ["/no/such/python"], "display_name": "x", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(kernel))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert len(run([write(tmp_path / "01_a.ipynb", "1")], tmp_path)) == 1


def test_a_start_skips_earlier_notebooks(tmp_path):
    for name in ("01_a", "02_b", "10_c"):
        write(tmp_path / f"{name}.ipynb")
    for start, names in (("", ["01_a", "02_b", "10_c"]), ("2", ["02_b", "10_c"]), ("10", ["10_c"])):
        assert [path.stem for path in notebooks.find_notebooks(tmp_path, start)] == names
    for start in ("3", "b", "-1", "1.0"):
        with pytest.raises(UnifeatError, match=f"FROM={start} is the number of no notebook; .* 01, 02, 10."):
            notebooks.find_notebooks(tmp_path, start)
    with pytest.raises(UnifeatError, match="No numbered notebook is in"):
        notebooks.find_notebooks(tmp_path / "empty")


OWN = "class BadInput(Exception):\n    def _render_traceback_(self):\n        return [str(self)]"


@pytest.mark.parametrize("cells, message", [
    (["1", "2", "1 / 0"], "01_a, cell 5: ZeroDivisionError: division by zero"),
    ([OWN, "raise BadInput('Probe is short; lengthen it.')"], "01_a, cell 4: Probe is short; lengthen it."),
    (["1", "import os; os.kill(os.getpid(), 9)", "1"], "01_a, cell 4: the kernel was killed,"),
])
def test_a_failure_stops_the_run_and_names_notebook_cell_and_reason(tmp_path, cells, message):
    paths = [write(tmp_path / "01_a.ipynb", *cells), write(tmp_path / "02_b.ipynb")]
    with pytest.raises(notebooks.NotebookError) as caught:
        run(paths, tmp_path)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "executed" / "02_b.ipynb").exists()


WAIT = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)"
SCRIPT = """
import signal, sys
from pathlib import Path
from unittest import mock
signal.signal(signal.SIGINT, signal.default_int_handler)
from unifeat import __main__ as cli, paths
paths.ROOT = Path(sys.argv[1])
sys.exit(cli.main(["figures", "--profile", "smoke"]))
"""


@pytest.mark.parametrize("number, status, word", [(signal.SIGINT, 130, "Interrupted"),
                                                  (signal.SIGTERM, 143, "Terminated"),
                                                  (signal.SIGKILL, -signal.SIGKILL, "")])
def test_the_kernel_ends_with_the_run(tmp_path, number, status, word):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "build" / "store" / "model-base-0").mkdir(parents=True)
    write(tmp_path / "notebooks" / "01_a.ipynb", WAIT)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=paths.ROOT,
                               stderr=subprocess.PIPE, text=True)
    kernel = int(wait_for(lambda: (tmp_path / "notebooks" / "pid").read_text()))
    process.send_signal(number)
    assert process.wait(60) == status
    if word:
        assert process.stderr.read().strip() == f"{word}; run the same command again and it continues where it stopped."
    wait_for(lambda: not alive(kernel))


def wait_for(condition, seconds=60):
    """The first truthy result of `condition`; a missing file counts as not yet."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            if result := condition():
                return result
        except FileNotFoundError:
            pass
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_passes_to_a_terminal_and_leaves_whole_lines_in_a_log():
    bar = ["\r  0%", "\r 50%", "\r100%\n", "\n", "done", ".\n", "\rhalf"]
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        progress = notebooks.Progress(stream)
        for piece in bar:
            progress.write(piece)
        progress.clear("next")
    assert log.getvalue() == "100%\ndone.\n"
    assert terminal.getvalue() == "".join(bar) + "\r\x1b[Knext"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of one notebook that saves every figure and table of the contract."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    data = tmp_path / "figures" / "smoke" / "data"
    data.mkdir(parents=True)
    for name, columns in cli.TABLES.items():
        (data / f"{name}.csv").write_text(f"{columns}\n{columns}\n")
    for name in cli.FIGURES:
        for kind in ("pdf", "png", "json"):
            (data.parent / f"{name}.{kind}").write_text("x")
    (data.parent / "manifest.json").write_text("{}")
    (tmp_path / "build" / "store" / "model-base-0").mkdir(parents=True)  # no first run, which would be estimated
    write(tmp_path / "notebooks" / "01_a.ipynb", SAVE.format("\\n".join(cli.FIGURES)))
    return tmp_path


def test_a_whole_run_prints_a_line_for_each_notebook_and_succeeds(repository, capsys):
    assert cli.main(["figures", "--profile", "smoke"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "01_a" and first.split()[2] == "s" and first.endswith(", ".join(cli.FIGURES))
    assert last.startswith(f"{len(cli.FIGURES)} figures are in figures/smoke/, their numbers in figures/smoke/data/ (")


def test_a_first_run_begins_with_an_estimate(repository, capsys):
    (repository / "build" / "store" / "model-base-0").rmdir()
    assert cli.main(["figures", "--profile", "smoke"]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("About ") and first.endswith(" GB of disk.") and second.startswith("01_a")


def test_controls_run_on_their_own_and_only_there(repository, capsys):
    for name in cli.CONTROLS:
        for kind in ("pdf", "png", "json"):
            (repository / "figures/smoke" / f"{name}.{kind}").write_text("x")
    write(repository / "notebooks" / "09_controls.ipynb", SAVE.format("\\n".join(cli.CONTROLS)))
    assert cli.main(["figures", "--profile", "smoke"]) == 0
    assert "09_controls" not in capsys.readouterr().out
    assert cli.main(["controls", "--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("09_controls") and f"{len(cli.CONTROLS)} figures are in figures/smoke/" in out


@pytest.mark.parametrize("damage, message", [
    (lambda root: (root / "figures/smoke/ladder.pdf").unlink(), "figures/smoke/ladder.pdf was not written."),
    (lambda root: (root / "figures/smoke/data/saes.csv").write_text("a\nx\n"), "saes.csv has 1 rows and"),
    (lambda root: write(root / "notebooks/01_a.ipynb", SAVE.format("ladder")), "none of them saved corpora:"),
])
def test_a_figure_or_table_that_is_not_there_fails_the_run(repository, capsys, damage, message):
    damage(repository)
    assert cli.main(["figures", "--profile", "smoke"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments, message", [
    (["--profile", "huge"], "Profile 'huge' does not exist;"),
    (["--corpora", "nowhere"], "CORPORA=nowhere is neither a source nor a folder;"),
    (["--from", "99"], "FROM=99 is the number of no notebook;"),
])
def test_bad_arguments_are_one_sentence_and_status_2(repository, capsys, arguments, message):
    assert cli.main(["figures", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1


def test_figures_of_other_runs_have_their_own_folder(tmp_path, monkeypatch):
    for profile, corpora, name in (("laptop", "", "figures"), ("laptop", "embedded", "figures"),
                                   ("laptop", "hub", "figures/laptop-hub"), ("smoke", "", "figures/smoke")):
        assert paths.figures(profile, corpora) == paths.ROOT / name
    monkeypatch.setenv("UNIFEAT_FIGURES", str(tmp_path))
    assert paths.figures("smoke", "") == tmp_path


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
