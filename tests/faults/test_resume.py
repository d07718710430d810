"""The whole pipeline on a tiny lineage, undisturbed and killed again and again: the same bytes come out."""

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
from unifeat.lineage.run import open_run
from unifeat.studies import case_studies, feature_flow, persistence
from unifeat.support.tables import csv
run = open_run(sys.argv[1], sys.argv[2])
run.train_models()
print(csv(run.losses("ngram", *run.lineage.names)))
print(csv(run.merge_sweep()), csv(run.sae_table()), csv(persistence.persistence(run)))
print(csv(feature_flow.flow(run)), csv(case_studies.partners(run)))
"""


def start(lineage, root):
    environment = dict(os.environ, UNIFEAT_STORE=str(root), OMP_NUM_THREADS="1")
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *lineage], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment, start_new_session=True)


def test_killed_and_resumed_runs_give_the_same_bytes(tmp_path):
    lineage = tiny.make(tmp_path)
    run = start(lineage, tmp_path / "whole")
    whole, errors = run.communicate(timeout=300)
    assert run.returncode == 0 and whole.count("\n") > 100, errors[-2000:]
    rng, root, kills = random.Random(1), tmp_path / "killed", 0
    for _ in range(4):
        run, done = start(lineage, root), len(list(root.glob("[!.]*")))
        until, patience = done + rng.randint(1, 12), time.monotonic() + 60
        while run.poll() is None and len(list(root.glob("[!.]*"))) < until and time.monotonic() < patience:
            time.sleep(rng.random() * 0.02)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.communicate()
        assert not store.faults(root)  # whatever has a final name is whole
    run = start(lineage, root)
    resumed, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors[-2000:]
    assert kills >= 2 and resumed[resumed.index("model,"):] == whole[whole.index("model,"):]
