"""The stages of a run, each computed once and kept in the store: what the notebooks call.

    run = open_run("laptop")
    run.model("lua")      # trains the base model and the Lua child, or loads them
    run.saes("lua")       # ... and that child's SAEs

    run = open_run("laptop", "folder of text", "base=path,lua=path")    # with models of yours
"""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat import lm, matching, sae
from unifeat.lineage import given, settings
from unifeat.lineage.models import Models
from unifeat.lineage.settings import MODELS
from unifeat.lm import training
from unifeat.matching import bootstrap, comparison
from unifeat.matching.comparison import Comparison
from unifeat.sae import features, gradients
from unifeat.sae import training as sae_training
from unifeat.support import parallel, paths, tables
from unifeat.text import comparison_text

SAE_COLUMNS = ["model", "kind", "seed", "arm", "width", "l0", "fvu", "ce_recovered_mean", "ce_recovered_zero",
               "dead_share", "live"]


def open_run(profile: str = "laptop", corpora_: str = "", models: str = "", hook: str = "") -> "Run":
    """A run of `profile` on `corpora_`: "" (the profile's own), a source, or a folder with four domains.

    models: "" (all are trained), or given ones (see `ownmodels.choose`); hook: "" (the profile's) or where SAEs read.
    UNIFEAT_PROFILE, _CORPORA, _MODELS and _HOOK in the environment win over the arguments.
    """
    names = [os.environ.get(f"UNIFEAT_{name}") or value for name, value in
             dict(PROFILE=profile, CORPORA=corpora_, MODELS=models, HOOK=hook).items()]
    profile_ = settings.choose(names[0], names[1], names[3])
    given_ = given.choose(names[2], paths.downloads())
    return Run(given.fit(profile_, given_) if given_ else profile_, paths.store(), paths.figures(*names), given=given_)


@dataclass(frozen=True, eq=False)
class Run(Models):
    """One profile, its store and the folder its figures go to; every method computes or loads one stage."""

    # Sparse autoencoders --------------------------------------------------------------------------------------

    def train_saes(self) -> None:
        """Make the SAEs of all models ready, and their features and metrics, several models at a time."""
        for name in MODELS:
            self._model_artefact(name)

        def work(name, bar):
            self._sae_artefact(name, bar)
            self._sae_metrics(name)

        parallel.side_by_side(work, MODELS, len(MODELS) * self.profile.sae.tokens, f"SAEs of {', '.join(MODELS)}")

    @lru_cache  # noqa: B019
    def _sae_artefact(self, name: str, bar=None):
        domains, weights = self.mix(name)

        def build(folder):
            blocks = [self.corpus.blocks(d, "train") for d in domains]
            trained, log = sae_training.train(self.model(name), blocks, weights, self.profile.sae, name, folder, bar)
            for one in trained:
                sae.save(one, folder / f"seed{one.seed}")
            training.write_log(log, folder / "log.jsonl")

        return self._make(f"saes-{name}", build, [self.profile.sae, domains, weights],
                          [self._corpus_artefact, self._model_artefact(name)],
                          (lm, sae, training, sae_training, gradients), bar, self.profile.sae.tokens)

    def saes(self, name: str) -> list[sae.Sae]:
        """The SAEs of a model, one per seed."""
        model = self.model(name)
        return [sae.load(self._sae_artefact(name).folder / f"seed{seed}", model) for seed in self.profile.sae.seeds]

    def sae(self, name: str, seed: int) -> "sae.Sae":
        """One SAE of a model."""
        return sae.load(self._sae_artefact(name).folder / f"seed{seed}", self.model(name))

    def sae_logs(self) -> pd.DataFrame:
        """SAE training logs: model, seed, tokens, fvu, l0, dead."""
        return pd.concat([pd.read_json(self._sae_artefact(name).folder / "log.jsonl", lines=True)
                          for name in MODELS], ignore_index=True)

    def _sae_metrics(self, name):
        def build(folder):
            rows = []
            domains, _ = self.mix(name)
            share = self.profile.evaluation.tokens // len(domains)
            blocks = np.concatenate([self.blocks(d, tokens=share) for d in domains])
            saes = self.saes(name)
            for one, found in zip(saes, sae.evaluate(saes, self.model(name), blocks), strict=True):
                np.save(folder / f"density{one.seed}.npy", found.pop("density"))
                rows.append(dict(model=name, kind=one.kind, seed=one.seed, arm="controlled", width=one.width,
                                 dead_share=one.dead_share, live=len(self.live(name, one.seed))) | found)
            tables.write(folder, rows, SAE_COLUMNS)

        return self._make(f"sae-metrics-{name}", build, self.profile.evaluation,
                          [self._sae_artefact(name), self._feature_artefact(name)], (lm, sae))

    def sae_table(self, *names: str) -> pd.DataFrame:
        """saes.csv: one row per SAE of the named models (all), metrics on held-out text of the model's own mix."""
        return pd.concat([tables.read(self._sae_metrics(name)) for name in names or MODELS], ignore_index=True)

    def densities(self) -> pd.DataFrame:
        """Firing density per latent: model, seed, log10_density (-inf for one that never fires)."""
        frames = []
        for name in MODELS:
            for seed in self.profile.sae.seeds:
                density = np.load(self._sae_metrics(name).folder / f"density{seed}.npy", allow_pickle=False)
                with np.errstate(divide="ignore"):
                    frames.append(pd.DataFrame(dict(model=name, seed=seed, log10_density=np.log10(density))))
        return pd.concat(frames, ignore_index=True)

    # Features and matches -------------------------------------------------------------------------------------

    @cached_property
    def probe(self) -> dict[str, np.ndarray]:
        """The common probe: blocks (n, context), and per kept token its block, position, document and domain."""
        found = comparison_text.take(self.corpus, self.profile.probe.tokens)
        block, position = np.nonzero(found["blocks"])  # the special token, 0, is left out
        return dict(blocks=found["blocks"], block=block, position=position,
                    document=found["document"][block, position], domain=found["domain"][block])

    def _feature_artefact(self, name):
        def build(folder):
            x = features.probe_activations(self.model(name), self.probe["blocks"], self.profile.sae.hook)
            for one in self.saes(name):
                sparse.save_npz(folder / f"seed{one.seed}.npz", features.encode(one, x), compressed=False)

        return self._make(f"features-{name}", build, self.profile.probe.tokens,
                          [self._corpus_artefact, self._sae_artefact(name)], (lm, sae, features, comparison_text))

    @lru_cache  # noqa: B019
    def features(self, name: str, seed: int) -> sparse.csr_matrix:
        """Latents of one SAE on the probe: (kept tokens, width)."""
        return sparse.load_npz(self._feature_artefact(name).folder / f"seed{seed}.npz")

    @lru_cache  # noqa: B019
    def live(self, name: str, seed: int) -> np.ndarray:
        """Indices of the features that fire on at least min_fires probe tokens."""
        return np.flatnonzero(features.fires(self.features(name, seed)) >= self.profile.probe.min_fires)

    @lru_cache(maxsize=256)  # noqa: B019 - tables of about a megabyte
    def compare(self, a: tuple[str, int], b: tuple[str, int]) -> Comparison:
        """Features of the SAE `a` = (model, seed) matched with those of `b`, live ones only."""
        artefact = self._make(f"match-{a[0]}{a[1]}-{b[0]}{b[1]}", lambda folder: self._compare(a, b, folder),
                              self.profile.probe, sorted({self._feature_artefact(m) for m in (a[0], b[0])},
                                                         key=lambda item: item.key),
                              (matching, bootstrap, comparison, features))
        with np.load(artefact.folder / "match.npz", allow_pickle=False) as file:
            return Comparison(a, b, self.live(*a), self.live(*b), dict(file))

    def _compare(self, a, b, folder):
        left, right = (self.features(*which)[:, self.live(*which)] for which in (a, b))
        p = self.profile.probe
        np.savez(folder / "match.npz", **comparison.compare(left, right, self.probe["document"], self.probe["domain"],
                                                          p.bootstrap, p.seed, with_null=a[0] != b[0]))
