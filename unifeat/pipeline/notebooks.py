"""Runs the numbered notebooks in order through papermill."""

import contextlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from unifeat.pipeline import notebook_cache
from unifeat.support.errors import UnifeatError

NO_WIDGETS = "ignore:IProgress not found"  # tqdm's advice to install ipywidgets; plain bars suit a terminal
QUIET = ["--log-level=50"]  # the kernel's own log (it warns of plain TCP on the loopback); cells still speak


class NotebookError(UnifeatError):
    """A notebook did not run to its end; the message says which, in which cell and why."""


@dataclass(frozen=True)
class Outcome:
    """One notebook: the figures it `saved`, and whether it `ran` now or had nothing to do."""

    name: str
    seconds: float
    saved: tuple[str, ...]
    ran: bool = True


class Progress:
    """A notebook's stderr, shown as it comes; where no terminal listens, only whole lines as they last stood.

    Progress bars redraw a line after a carriage return, which a log file would keep as thousands of bars.
    """

    def __init__(self, stream):
        self.stream, self.terminal, self.line = stream, stream.isatty(), ""

    def write(self, text: str) -> None:
        *whole, self.line = (self.line + text).split("\n")
        if self.terminal:
            self.stream.write(text)
        else:
            self.stream.writelines(f"{line.split(chr(13))[-1]}\n" for line in whole if line.strip())
        self.line = self.line.split("\r")[-1]

    def flush(self) -> None:
        self.stream.flush()

    def clear(self, text: str = "") -> None:
        """Replace the line the cursor stands on by `text` (terminal only)."""
        if self.terminal:
            self.stream.write(f"\r\x1b[K{text}")
            self.stream.flush()
        self.line = ""


def find_notebooks(folder: Path, start: str = "") -> list[Path]:
    """The numbered notebooks of `folder` in order, from number `start` ("" = the first) on.

    Raises:
        UnifeatError: there is none, or none has the number `start`.
    """
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    if not paths:
        raise UnifeatError(f"No numbered notebook is in {folder}; run this in a clone of the repository.")
    numbers = [int(re.match(r"\d+", path.name)[0]) for path in paths]
    if start and not (start.isdecimal() and int(start) in numbers):
        raise UnifeatError(f"FROM={start} is the number of no notebook; choose one of "
                           f"{', '.join(path.name.split('_')[0] for path in paths)}.")
    return paths[numbers.index(int(start)):] if start else paths


def run_notebooks(paths: Sequence[Path], output: Path, parameters: dict, report: Callable[[Outcome], None],
                  state: str, again: bool = False) -> list[Outcome]:
    """Execute notebooks one after another in their own folder; executed copies go to `output`.

    One whose cells, `state` (see `notebook_cache.state`) and written files are those of its last run is left out,
    unless `again`. `report` is called after each. Each gets a fresh kernel of this very interpreter, which ends with
    the notebook and with this process.

    Raises:
        NotebookError: a cell failed or the kernel died; later notebooks are not run.
    """
    from papermill.log import logger

    logging.getLogger("asyncio").setLevel("CRITICAL")  # of what an interrupt leaves behind of talks with the kernel
    logger.setLevel("CRITICAL")  # it announces paths and repeats errors, which are reported here in one line
    output.mkdir(parents=True, exist_ok=True)
    progress, outcomes = Progress(sys.stderr), []
    if progress.terminal:
        os.environ.setdefault("TQDM_NCOLS", str(min(100, shutil.get_terminal_size().columns - 1)))
    os.environ.setdefault("PYTHONWARNINGS", NO_WIDGETS)
    for path in paths:
        key, record = notebook_cache.notebook(path, state), output / f".{path.stem}.json"
        known = None if again or not (output / path.name).is_file() else notebook_cache.unchanged(record, key)
        if known is not None:
            outcomes.append(Outcome(path.stem, 0.0, known, ran=False))
            report(outcomes[-1])
            continue
        list_ = output.resolve() / f".{path.stem}.saved"  # each its own: figures and controls may run at once
        list_.write_text("")
        os.environ["UNIFEAT_SAVED"] = str(list_)
        progress.clear(f"{path.stem} ...")
        began = time.perf_counter()
        try:
            execute(path, output / path.name, parameters, progress)
        finally:
            progress.clear()
        saved = {}
        for name, *files in map(json.loads, list_.read_text(encoding="utf-8").splitlines()):
            saved.setdefault(name, []).extend(files)
        notebook_cache.write(record, key, saved)
        outcomes.append(Outcome(path.stem, time.perf_counter() - began, tuple(saved)))
        report(outcomes[-1])
    return outcomes


def execute(path: Path, output: Path, parameters: dict, progress: Progress) -> None:
    """Run one notebook in its own folder and write the executed copy to `output`, also when it fails.

    Raises:
        NotebookError: a cell failed or the kernel died.
    """
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    with _kernel() as kernel:
        try:
            execute_notebook(str(path.resolve()), str(output.resolve()), parameters, kernel_name="python3",
                             km=kernel, extra_arguments=QUIET, shutdown_kernel="immediate",
                             cwd=str(path.parent), progress_bar=False, stderr_file=progress)
        except PapermillExecutionError as error:
            cell = error.cell_index + 1 - _injected(output)
            raise NotebookError(f"{path.stem}, cell {cell}: {_reason(error)}") from None
        except DeadKernelError:
            raise NotebookError(f"{path.stem}, cell {_running(output)}: the kernel was killed, maybe for "
                                "want of memory; close other programs and run the command again.") from None


@contextlib.contextmanager
def _kernel():
    """A manager of a kernel of this interpreter, whatever `python3` kernels are registered elsewhere."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.utils import run_sync

    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    try:
        yield kernel
    finally:
        if kernel.has_kernel:  # an interrupt can leave it running
            run_sync(kernel.shutdown_kernel)(now=True)


def _reason(error) -> str:
    """The last line of a traceback; of an error that renders itself without one (ours), its sentence."""
    if any("Traceback" in line for line in error.traceback):
        return f"{error.ename}: {error.evalue}"
    return error.evalue or error.ename


def _injected(output: Path) -> int:
    """1 if the failing cell of an executed notebook follows papermill's own cell, which has no number."""
    for cell in nbformat.read(output, as_version=4).cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            return 1
        if any(item.output_type == "error" for item in cell.get("outputs", [])):
            break
    return 0


def _running(output: Path) -> int:
    """Number of the cell at which an executed notebook stopped, from 1, papermill's own cell not counted."""
    cells = [cell for cell in nbformat.read(output, as_version=4).cells
             if "injected-parameters" not in cell.metadata.get("tags", [])]
    done = [cell.metadata.get("papermill", {}).get("end_time") is not None for cell in cells]
    return max((number for number, ended in enumerate(done, 1) if ended), default=1)
