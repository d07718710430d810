"""The whole pipeline on a tiny profile, undisturbed and killed again and again: the same bytes come out."""

import os
import random
import signal
import subprocess
import sys
import time

import tiny

from unifeat.support import store

SCRIPT = """
import sys
from unifeat import cases, flow, stages, tables
run = stages.open_run(sys.argv[1], sys.argv[2])
print(tables.csv(run.losses("ngram", "base", "lua", "stories", "merged")))
print(tables.csv(run.merge_sweep()), tables.csv(run.sae_table()), tables.csv(flow.persistence(run)))
print(tables.csv(flow.flow(run)), tables.csv(cases.partners(run)))
"""


def start(settings, root):
    environment = dict(os.environ, UNIFEAT_STORE=str(root), OMP_NUM_THREADS="1")
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment, start_new_session=True)


def test_killed_and_resumed_runs_give_the_same_bytes(tmp_path):
    settings = tiny.make(tmp_path)
    run = start(settings, tmp_path / "whole")
    whole, errors = run.communicate(timeout=300)
    assert run.returncode == 0 and whole.count("\n") > 100, errors[-2000:]
    rng, root, kills = random.Random(1), tmp_path / "killed", 0
    for _ in range(4):
        run, done = start(settings, root), len(list(root.glob("[!.]*")))
        until, patience = done + rng.randint(1, 12), time.monotonic() + 60
        while run.poll() is None and len(list(root.glob("[!.]*"))) < until and time.monotonic() < patience:
            time.sleep(rng.random() * 0.02)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.communicate()
        assert not store.faults(root)  # whatever has a final name is whole
    run = start(settings, root)
    resumed, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors[-2000:]
    assert kills >= 2 and resumed[resumed.index("model,"):] == whole[whole.index("model,"):]
