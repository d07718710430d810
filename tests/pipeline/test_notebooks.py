"""Running notebooks in order, on tiny ones made here."""

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
from made_notebooks import run, saving, write

from unifeat.lineage import choose, read
from unifeat.pipeline import notebook_cache, notebooks
from unifeat.support import paths
from unifeat.support.errors import UnifeatError


def test_only_notebooks_of_which_something_changed_run_again(tmp_path):
    figure = tmp_path / "fig.txt"
    drawing = f"open({str(figure)!r}, 'w').write('a')"
    first = write(tmp_path / "01_a.ipynb", drawing, saving("fig", files=[figure]))
    second = write(tmp_path / "02_b.ipynb", "1")

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


def test_state_names_lineage_text_code_and_settings(tmp_path, monkeypatch):
    smoke, state = read("smoke"), notebook_cache.state
    states = {state(smoke, {}), state(read("laptop"), {}), state(smoke, {"A": 1})}
    monkeypatch.setenv("EXPLAINER", "llm")
    states.add(state(smoke, {}))
    for name in smoke.domains:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("text")
    files = choose("smoke", str(tmp_path))
    states.add(state(files, {}))
    (tmp_path / "lua" / "a.txt").write_text("another text")
    states.add(state(files, {}))
    monkeypatch.setattr(notebook_cache, "code", lambda: "other")
    states.add(state(files, {}))
    assert len(states) == 7


def text_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_notebooks_run_in_order_with_parameters_in_their_own_folder_and_interpreter(tmp_path):
    where = "import sys, os\nprint(LINEAGE, os.getcwd(), sys.executable, sep=os.linesep)"
    second = write(tmp_path / "02_b.ipynb", where, *(saving(name) for name in ("fig2", "fig1", "fig2")))
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
from unifeat import __main__ as cli
from unifeat.support import paths
paths.ROOT = Path(sys.argv[1])
sys.exit(cli.main(["figures", "--lineage", "smoke"]))
"""


@pytest.mark.parametrize("number, status, word", [(signal.SIGINT, 130, "Interrupted"),
                                                  (signal.SIGTERM, 143, "Terminated"),
                                                  (signal.SIGKILL, -signal.SIGKILL, "")])
def test_the_kernel_ends_with_the_run(tmp_path, number, status, word):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
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
