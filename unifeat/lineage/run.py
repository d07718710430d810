"""A run of a lineage: every stage computed once and kept in the store. What the notebooks call.

    run = open_run("laptop")
    run.model("tuned")    # makes its parents and it, or loads them
    run.saes("tuned")     # ... and its SAEs

    run = open_run("laptop", corpora="folder of text", models="base=folder,tuned=folder")    # with models of yours
"""

import itertools
import os
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from unifeat import sae
from unifeat.lineage import given
from unifeat.lineage.losses import Losses
from unifeat.lineage.merges import Merges
from unifeat.lineage.reading import choose
from unifeat.lineage.saes import Saes
from unifeat.lm import HOOK
from unifeat.matching import comparison, token_features
from unifeat.matching.comparison import Comparison
from unifeat.support import paths


def open_run(lineage: str = "laptop", corpora: str = "", models: str = "", hook: str = "") -> "Run":
    """A run of a lineage: its name or the path of its .toml file; the rest as in `reading.choose`.

    UNIFEAT_LINEAGE, _CORPORA, _MODELS and _HOOK in the environment win over the arguments.
    """
    names = [str(os.environ.get(f"UNIFEAT_{name}") or value) for name, value in  # papermill reads 2024 as a number
             dict(LINEAGE=lineage, CORPORA=corpora, MODELS=models, HOOK=hook).items()]
    return opened(choose(names[0], names[1], names[3], names[2]), paths.figures(*names))


def opened(lineage, figures) -> "Run":
    """A run of a lineage that is read already; its figures go to the folder `figures`."""
    found = given.folders(lineage, paths.downloads())
    return Run(given.fit(lineage, found), paths.store(), figures, given=found)


@dataclass(frozen=True, eq=False)
class Run(Saes, Losses, Merges):
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

    @cached_property
    def published(self) -> "Run | None":
        """The same models with the SAEs of the arm as_published; None where the lineage has none."""
        p = self.lineage
        if p.published is None:
            return None
        return replace(self, lineage=replace(p, sae=p.published), seconds={})  # its stages have the same names

    def look_stage(self, name: str):
        """The result that says of every latent of a model's SAEs how far the token, or one neuron, decides it."""
        def build(folder):
            text = self.comparison_text
            learning = token_features.halves(text["document"], text["domain"])
            for one in self.saes(name):
                np.savez(folder / f"seed{one.seed}.npz", axis=sae.axis_cosine(one),
                         token=token_features.token_r(self.features(name, one.seed), text["token"], learning))

        return self.stage(f"looks-{name}", build, None, [self.feature_stage(name)])

    @lru_cache  # noqa: B019
    def subsets(self, name: str, seed: int) -> dict[str, np.ndarray]:
        """Masks over the live features of an SAE: those beyond what the token decides, beyond one neuron, and both."""
        with np.load(self.look_stage(name).folder / f"seed{seed}.npz", allow_pickle=False) as file:
            look = {key: file[key][self.live(name, seed)] for key in file}
        tau = self.lineage.comparison.tau
        token, neuron = (~(look[key] >= tau) for key in ("token", "axis"))
        return dict(beyond_token=token, beyond_neuron=neuron, beyond_both=token & neuron)

    @lru_cache(maxsize=512)  # noqa: B019 - tables of a few megabytes
    def compare(self, a: tuple[str, int], b: tuple[str, int]) -> Comparison:
        """Features of the SAE `a` = (model, seed) matched with those of `b`, live ones only.

        Of two models' SAEs there are also the shares of `subsets` and of those `found_again`.
        """
        p = self.lineage.comparison

        def build(folder):
            left, right = (self.features(*which)[:, self.live(*which)] for which in (a, b))
            subsets = [self.subsets(*which) | ({} if a[0] == b[0] else dict(found_again=self.found_again(*which)))
                       for which in (a, b)]
            np.savez(folder / "match.npz", **comparison.compare(left, right, self.comparison_text, p.bootstrap, p.seed,
                                                                with_null=a[0] != b[0], subsets=subsets))

        inputs = sorted({self.look_stage(m) for m in (a[0], b[0])}, key=lambda item: item.key)
        made = self.stage(f"match-{a[0]}{a[1]}-{b[0]}{b[1]}", build, p, inputs)
        with np.load(made.folder / "match.npz", allow_pickle=False) as file:
            return Comparison(a, b, self.live(*a), self.live(*b), dict(file))

    def twins(self, name: str) -> list[Comparison]:
        """Comparisons of each two SAEs of one model: what the ceiling is made of."""
        return [self.compare((name, a), (name, b)) for a, b in itertools.combinations(self.lineage.sae.seeds, 2)]

    def found_again(self, name: str, seed: int) -> np.ndarray:
        """Mask over the live features of an SAE: those with a one-to-one partner at tau in each of its seed twins."""
        found = [one.kept("one_to_one", self.lineage.comparison.tau)[0 if one.a[1] == seed else 1]
                 for one in self.twins(name) if seed in (one.a[1], one.b[1])]
        return np.all(found, axis=0)
