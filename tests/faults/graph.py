"""A small graph of artefacts with every kind of file that the stages write; `python graph.py STORE PAUSE` makes it."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from unifeat.support import store

KINDS = ("corpora.json", "english.npy", "model/model.safetensors", "model/tokenizer.json", "log.jsonl",
         "features.npz", "stream.bin", "table.csv")
STEPS = 4


def make(root: Path, pause: float = 0.0) -> list[store.Artefact]:
    """corpora -> model -> features -> table, pausing before every file; prints each stage that it builds."""
    def builds(stage, write):
        def build(folder):
            print(stage, flush=True)
            write(folder)

        return build

    def wait():
        time.sleep(pause)

    def corpora(folder):
        wait()
        (folder / "corpora.json").write_text(json.dumps({"rows": [1, 2, 3]}))
        wait()
        np.save(folder / "english.npy", np.arange(20_000, dtype=np.uint16))

    def model(folder):
        state, at = np.zeros(64), folder / "checkpoint" / "state.npy"
        if at.is_file():
            state = np.load(at, allow_pickle=False)
        for step in range(int(state[0]), STEPS):
            wait()
            state = np.concatenate([[step + 1], np.sin(state[1:] + step)])
            at.parent.mkdir(exist_ok=True)
            np.save(at.with_suffix(".new.npy"), state)
            at.with_suffix(".new.npy").replace(at)
        (folder / "model").mkdir()
        save_file({"w": state}, folder / "model" / "model.safetensors")
        wait()
        (folder / "model" / "tokenizer.json").write_text('{"version": "1.0"}')
        (folder / "log.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(STEPS)))

    def features(folder):
        wait()
        np.savez(folder / "features.npz", data=np.linspace(0, 1, 5000), indices=np.arange(5000))
        np.arange(3000.0).tofile(folder / "stream.bin")

    def table(folder):
        wait()
        (folder / "table.csv").write_text("a,b\n1,2\n")

    made = []
    for stage, write in (("corpora", corpora), ("model", model), ("features", features), ("table", table)):
        made.append(store.make(root, stage, builds(stage, write), inputs=made[-1:]))
    return made


def contents(root: Path) -> dict[str, bytes]:
    """Every file of every artefact by name; of manifests what does not hold the time that was taken."""
    out = {}
    for folder in store.artefacts(root):
        for path in folder.rglob("*"):
            if path.is_file():
                out[path.relative_to(root).as_posix()] = path.read_bytes()
        manifest = json.loads(out[f"{folder.name}/{store.MANIFEST}"])
        out[f"{folder.name}/{store.MANIFEST}"] = json.dumps({**manifest, "seconds": 0}).encode()
    return out


if __name__ == "__main__":
    os.fsync = lambda _: None  # for losses of power, which no test can make
    make(Path(sys.argv[1]), float(sys.argv[2]))
