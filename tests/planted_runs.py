"""Runs whose features are planted: what is shared is known, and no model or text is needed."""

import zlib
from pathlib import Path

import numpy as np
from scipy import sparse

from unifeat.lineage import read
from unifeat.lineage.run import Run
from unifeat.support import store

TOKENS, SHARED, OWN = 6000, 30, 10
SHARE = SHARED / (SHARED + OWN)


def planted(name: str, seed: int, shared: int = SHARED) -> sparse.csr_matrix:
    """SHARED features that all models have, in an order of the SAE's own, and OWN ones of this SAE alone, one dead."""
    common, private = np.random.default_rng(0), np.random.default_rng([1, seed, zlib.crc32(name.encode())])

    def some(rng, n):
        return np.where(rng.random((TOKENS, n)) < 0.02, rng.exponential(size=(TOKENS, n)), 0)

    columns = np.column_stack([some(common, SHARED)[:, :shared] * 3, some(private, OWN), np.zeros(TOKENS)])
    return sparse.csr_matrix(columns[:, private.permutation(columns.shape[1])].astype(np.float32))


class Planted(Run):
    """A run that skips text and models."""

    def features(self, name, seed):
        return planted(name, seed)

    def feature_stage(self, name):
        return store.Artefact(self.root, name, 0.0)

    def look_stage(self, name):
        return self.feature_stage(name)

    def subsets(self, name, seed):
        every = np.ones(len(self.live(name, seed)), bool)
        return dict(beyond_token=every, beyond_neuron=every, beyond_both=every)

    @property
    def comparison_text(self):
        at = np.arange(TOKENS)
        domains = len(self.lineage.domains)
        return dict(document=at // 60, domain=at * domains // TOKENS, block=at // 64, position=at % 64,
                    token=1 + at % 7)


def planted_run(folder: Path, models: str = "", kind=Planted) -> Planted:
    """A planted run of the smoke lineage, or of the models that the TOML `models` names, in `folder`."""
    path = folder / "planted.toml"
    path.write_text(f'extends = "smoke"\n{models}', encoding="utf-8")
    lineage = read(path, **{"comparison.bootstrap": 20, "comparison.min_fires": 20})
    return kind(lineage, folder / "store", folder / "figures")


def children(parents: dict[str, str]) -> str:
    """TOML of a root `a` and of models by name that are fine-tuned from a parent, or merged from "two+parents"."""
    out = ['[models.a]\ntrain = { text = ["english"] }\n']
    for name, parent in parents.items():
        made = (f"merge = {parent.split('+')!r}" if "+" in parent
                else f'parent = "{parent}"\nfinetune = {{ text = ["lua"] }}')
        out.append(f"[models.{name}]\n{made}\n")
    return "".join(out)
