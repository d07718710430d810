"""The whole pipeline on a tiny profile, undisturbed and killed again and again: the same bytes come out."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from unifeat import profiles, store

CHANGES = {
    "corpora": dict(vocab=300, context=32, validation_share=0.3, tokenizer_bytes=20_000, max_bytes=0),
    "model": dict(d_model=16, d_mlp=32, heads=2, kv_heads=1),
    **{name: dict(tokens=12_800, batch=8, warmup=2, evaluations=2) for name in ("base", "lua", "stories")},
    "evaluation": dict(tokens=640, ngram=2),
    "merge": dict(points=3),
    "sae": dict(width=48, k=4, tokens=8_000, buffer=4_000, batch=200, warmup=2, dead_after=2_000),
    "probe": dict(tokens=640, min_fires=5, bootstrap=5),
}
WORDS = {"english": "the a city river was in of old new large known people",
         "python": "def return self import if x y ( ) : =",
         "stories": "once upon a time there lived little girl said and went home",
         "lua": "local function end then x y ( ) = if nil"}
SCRIPT = """
import sys
from unifeat import cases, flow, stages, tables
run = stages.open_run(sys.argv[1], sys.argv[2])
print(tables.csv(run.losses("ngram", "base", "lua", "stories", "merged")))
print(tables.csv(run.merge_sweep()), tables.csv(run.sae_table()), tables.csv(flow.persistence(run)))
print(tables.csv(flow.flow(run)), tables.csv(cases.partners(run)))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A profile file and a folder of text whose whole pipeline takes seconds."""
    folder, text = tmp_path_factory.mktemp("tiny"), (profiles.FOLDER / "smoke.toml").read_text()
    sections = re.split(r"(?m)^(?=\[)", text)
    for i, section in enumerate(sections):
        for key, value in CHANGES.get(section[1:section.find("]")], {}).items():
            sections[i], found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", sections[i])
            assert found == 1
    (folder / "tiny.toml").write_text("".join(sections))
    rng = random.Random(0)
    for domain, words in WORDS.items():
        (folder / "text" / domain).mkdir(parents=True)
        for i in range(12):
            (folder / "text" / domain / f"{i}.txt").write_text(" ".join(rng.choices(words.split(), k=220)))
    return folder


def start(tiny, root):
    environment = dict(os.environ, UNIFEAT_STORE=str(root), OMP_NUM_THREADS="1")
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny / "tiny.toml"), str(tiny / "text")],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                            start_new_session=True)


def test_killed_and_resumed_runs_give_the_same_bytes(tiny, tmp_path):
    run = start(tiny, tmp_path / "whole")
    whole, errors = run.communicate(timeout=300)
    assert run.returncode == 0 and whole.count("\n") > 100, errors[-2000:]
    rng, root, kills = random.Random(1), tmp_path / "killed", 0
    for _ in range(4):
        run, done = start(tiny, root), len(list(root.glob("[!.]*")))
        until, patience = done + rng.randint(1, 12), time.monotonic() + 60
        while run.poll() is None and len(list(root.glob("[!.]*"))) < until and time.monotonic() < patience:
            time.sleep(rng.random() * 0.02)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.communicate()
        assert not store.faults(root)  # whatever has a final name is whole
    run = start(tiny, root)
    resumed, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors[-2000:]
    assert kills >= 2 and resumed[resumed.index("model,"):] == whole[whole.index("model,"):]
