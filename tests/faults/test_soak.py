"""`make soak`: the smoke run killed at random moments and finished, against an undisturbed one, byte for byte.

UNIFEAT_SOAK_KILLS says how often (20).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unifeat.support import paths, store

pytestmark = pytest.mark.soak
KILLS = int(os.environ.get("UNIFEAT_SOAK_KILLS") or 20)
DOWNLOADS = str(paths.downloads())
SECONDS = 600  # the longest that one attempt may take


def start(folder: Path) -> subprocess.Popen:
    """What `make figures LINEAGE=smoke` runs, with a store and figures of its own, as the head of a process group."""
    own = dict(UNIFEAT_STORE=str(folder / "store"), UNIFEAT_FIGURES=str(folder / "figures"),
               UNIFEAT_DOWNLOADS=DOWNLOADS, PYTHONPATH=str(paths.ROOT))
    return subprocess.Popen([sys.executable, "-m", "unifeat", "figures", "--lineage", "smoke"], cwd=paths.ROOT,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(os.environ) | own,
                            start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # ignored under nohup


def finish(folder: Path) -> float:
    """Run to the end; the seconds that took."""
    began, run = time.monotonic(), start(folder)
    error = run.communicate(timeout=SECONDS)[1]
    assert run.returncode == 0, error[-2000:]
    return time.monotonic() - began


def data(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "figures" / "data").iterdir()}


def left(group: int) -> list[str]:
    """Command lines of what still runs in a process group."""
    out = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in out.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder and seconds of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, finish(folder)


def test_killed_at_random_moments_and_finished_the_numbers_are_the_same(undisturbed, tmp_path):
    whole, seconds = undisturbed
    kills, folder = 0, tmp_path / "0"
    while kills < KILLS:
        run = start(folder)
        try:
            run.wait(timeout=random.uniform(2, max(8.0, 4 * seconds / KILLS)))
            assert run.returncode == 0 and data(folder) == data(whole)
            folder = tmp_path / str(kills)  # it was done before it could be killed: start afresh
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.communicate()
        assert not store.faults(folder / "store")
    finish(folder)
    assert data(folder) == data(whole) and len(data(whole)) > 10
    assert not store.faults(folder / "store") and not list((folder / "store").glob(".*-*"))


@pytest.mark.parametrize("number, word, status", [(signal.SIGTERM, "Terminated", 143),
                                                  (signal.SIGINT, "Interrupted", 130)])
def test_signals_end_the_run_cleanly_and_it_can_be_continued(undisturbed, tmp_path, number, word, status):
    whole, seconds = undisturbed
    run = start(tmp_path)
    time.sleep(random.uniform(5, max(8.0, seconds / 2)))
    run.send_signal(number)
    error = run.communicate(timeout=60)[1]
    assert run.returncode == status
    assert error.strip().splitlines()[-1] == f"{word}; run the same command again and it continues where it stopped."
    assert "Traceback" not in error and left(run.pid) == []
    finish(tmp_path)
    assert data(tmp_path) == data(whole)
