"""A run's sparse autoencoders, their features on the comparison text, and their metrics."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat import sae
from unifeat.lineage.models import Models
from unifeat.lm import training
from unifeat.sae import features
from unifeat.sae import training as sae_training
from unifeat.support import parallel, tables

COLUMNS = ["model", "kind", "seed", "arm", "width", "l0", "fvu", "ce_recovered_mean", "ce_recovered_zero",
           "dead_share", "live"]


@dataclass(frozen=True, eq=False)
class Saes(Models):
    """The stages that make SAEs and read them."""

    @property
    def arm(self) -> str:
        """Which SAEs these are: controlled, or as_published."""
        return "as_published" if self.lineage.sae == self.lineage.published else "controlled"

    def train_saes(self) -> None:
        """Make the SAEs of all models ready, and their features and metrics, several models at a time."""
        names = self.lineage.names
        for name in names:
            self.model_stage(name)

        def work(name, bar):
            self.sae_stage(name, bar)
            self.metric_stage(name)

        parallel.side_by_side(work, names, len(names) * self.lineage.sae.tokens, f"SAEs of {', '.join(names)}")

    @lru_cache  # noqa: B019
    def sae_stage(self, name: str, bar=None):
        """The result that holds a model's SAEs, one per seed."""
        domains, weights = self.lineage.sae_text(name)
        config = self.lineage.sae

        def build(folder):
            blocks = [self.corpus.blocks(d, "train") for d in domains]
            trained, log = sae_training.train(self.model(name), blocks, weights, config, name, folder, bar)
            for one in trained:
                sae.save(one, folder / f"seed{one.seed}")
            training.write_log(log, folder / "log.jsonl")

        return self.stage(f"saes-{name}", build, [config, domains, weights], [self.corpus_stage,
                                                                              self.model_stage(name)],
                          bar=bar, tokens=config.tokens)

    def saes(self, name: str) -> list[sae.Sae]:
        """The SAEs of a model, one per seed."""
        model = self.model(name)
        return [sae.load(self.sae_stage(name).folder / f"seed{seed}", model) for seed in self.lineage.sae.seeds]

    def sae(self, name: str, seed: int) -> "sae.Sae":
        """One SAE of a model."""
        return sae.load(self.sae_stage(name).folder / f"seed{seed}", self.model(name))

    def sae_logs(self) -> pd.DataFrame:
        """SAE training logs: model, seed, tokens, fvu, l0, dead."""
        return pd.concat([pd.read_json(self.sae_stage(name).folder / "log.jsonl", lines=True)
                          for name in self.lineage.names], ignore_index=True)

    def feature_stage(self, name: str):
        """The result that holds the features of a model's SAEs on the comparison text."""
        def build(folder):
            x = features.text_activations(self.model(name), self.comparison_text["blocks"], self.lineage.sae.hook)
            for one in self.saes(name):
                sparse.save_npz(folder / f"seed{one.seed}.npz", features.encode(one, x), compressed=False)

        return self.stage(f"features-{name}", build, self.lineage.comparison.tokens,
                          [self.corpus_stage, self.sae_stage(name)])

    @lru_cache  # noqa: B019
    def features(self, name: str, seed: int) -> sparse.csr_matrix:
        """Latents of one SAE on the comparison text: (kept tokens, width)."""
        return sparse.load_npz(self.feature_stage(name).folder / f"seed{seed}.npz")

    @lru_cache  # noqa: B019
    def live(self, name: str, seed: int) -> np.ndarray:
        """Indices of the features that fire on at least min_fires tokens of the comparison text."""
        return np.flatnonzero(features.fires(self.features(name, seed)) >= self.lineage.comparison.min_fires)

    def metric_stage(self, name: str):
        """The result that holds the metrics of a model's SAEs."""
        def build(folder):
            rows = []
            domains, _ = self.lineage.sae_text(name)
            share = self.lineage.evaluation.tokens // len(domains)
            blocks = np.concatenate([self.blocks(d, tokens=share) for d in domains])
            saes = self.saes(name)
            for one, found in zip(saes, sae.evaluate(saes, self.model(name), blocks), strict=True):
                np.save(folder / f"density{one.seed}.npy", found.pop("density"))
                rows.append(dict(model=name, kind=one.kind, seed=one.seed, arm=self.arm, width=one.width,
                                 dead_share=one.dead_share, live=len(self.live(name, one.seed))) | found)
            tables.write(folder, rows, COLUMNS)

        return self.stage(f"sae-metrics-{name}", build, [self.lineage.evaluation, self.lineage.comparison.min_fires,
                                                         self.arm],
                          [self.sae_stage(name), self.feature_stage(name)])

    def sae_table(self, *names: str) -> pd.DataFrame:
        """saes.csv: one row per SAE of the named models (all), metrics on held-out text of what they read."""
        return pd.concat([tables.read(self.metric_stage(name)) for name in names or self.lineage.names],
                         ignore_index=True)

    def densities(self) -> pd.DataFrame:
        """Firing density per latent: model, seed, log10_density (-inf for one that never fires)."""
        frames = []
        for name in self.lineage.names:
            for seed in self.lineage.sae.seeds:
                density = np.load(self.metric_stage(name).folder / f"density{seed}.npy", allow_pickle=False)
                with np.errstate(divide="ignore"):
                    frames.append(pd.DataFrame(dict(model=name, seed=seed, log10_density=np.log10(density))))
        return pd.concat(frames, ignore_index=True)
