"""A run of a lineage: every stage computed once and kept in the store. What the notebooks call.

    run = open_run("laptop")
    run.model("tuned")    # makes its parents and it, or loads them
    run.saes("tuned")     # ... and its SAEs

    run = open_run("laptop", corpora="folder of text", models="base=folder,tuned=folder")    # with models of yours
"""

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from unifeat.lineage import given
from unifeat.lineage.losses import Losses
from unifeat.lineage.reading import choose
from unifeat.lineage.saes import Saes
from unifeat.lm import HOOK
from unifeat.matching import comparison
from unifeat.matching.comparison import Comparison
from unifeat.support import paths


def open_run(lineage: str = "laptop", corpora: str = "", models: str = "", hook: str = "") -> "Run":
    """A run of a lineage: its name or the path of its .toml file; the rest as in `reading.choose`.

    UNIFEAT_LINEAGE, _CORPORA, _MODELS and _HOOK in the environment win over the arguments.
    """
    names = [os.environ.get(f"UNIFEAT_{name}") or value for name, value in
             dict(LINEAGE=lineage, CORPORA=corpora, MODELS=models, HOOK=hook).items()]
    return opened(choose(names[0], names[1], names[3], names[2]), paths.figures(*names))


def opened(lineage, figures) -> "Run":
    """A run of a lineage that is read already; its figures go to the folder `figures`."""
    found = given.folders(lineage, paths.downloads())
    return Run(given.fit(lineage, found), paths.store(), figures, given=found)


@dataclass(frozen=True, eq=False)
class Run(Saes, Losses):
    """One lineage, its store and the folder its figures go to; every method computes or loads one stage."""

    @property
    def claims(self) -> bool:
        """Whether the notebooks' claims are to hold: for lineages that come with the package (but smoke)."""
        p = self.lineage
        return p.shipped and p.name in ("laptop", "paper") and p.sae.hook == HOOK and not self.given

    @property
    def theme(self):
        """Labels and colors of models and domains."""
        return self.lineage.theme

    @lru_cache(maxsize=256)  # noqa: B019 - tables of about a megabyte
    def compare(self, a: tuple[str, int], b: tuple[str, int]) -> Comparison:
        """Features of the SAE `a` = (model, seed) matched with those of `b`, live ones only."""
        p = self.lineage.comparison

        def build(folder):
            left, right = (self.features(*which)[:, self.live(*which)] for which in (a, b))
            text = self.comparison_text
            np.savez(folder / "match.npz", **comparison.compare(left, right, text["document"], text["domain"],
                                                              p.bootstrap, p.seed, with_null=a[0] != b[0]))

        inputs = sorted({self.feature_stage(m) for m in (a[0], b[0])}, key=lambda item: item.key)
        made = self.stage(f"match-{a[0]}{a[1]}-{b[0]}{b[1]}", build, p, inputs)
        with np.load(made.folder / "match.npz", allow_pickle=False) as file:
            return Comparison(a, b, self.live(*a), self.live(*b), dict(file))
