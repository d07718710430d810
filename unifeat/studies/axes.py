"""A dictionary without training: the axes of what an SAE reads, in both directions. Inside an MLP they are its neurons.

It has a ceiling of 100 % by construction, since two of them are equal, whatever the model: what a high ceiling is worth
is seen beside it.
"""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import torch

from unifeat import sae
from unifeat.lineage.run import Run
from unifeat.sae import training


def neurons(one: sae.Sae, k: int, seed: int = 0) -> sae.Sae:
    """An SAE of 2 d latents that are the d axes and their opposites; centre and scale are those of the SAE `one`.

        W_enc = W_dec = [I; -I],   b_enc = 0,   so z = (s x - b_dec, b_dec - s x), of which top-k keeps the k largest

    A token keeps its k axes that lie farthest from the centre; the rest stay at the centre.
    """
    axes = torch.eye(len(one.b_dec))
    axes = torch.cat([axes, -axes])
    return sae.Sae("topk", min(k, len(axes)), axes, torch.zeros(len(axes)), axes.clone(), one.b_dec.clone(), one.scale,
                   lm_hash=one.lm_hash, seed=seed, dead_share=0.0, hook=one.hook)


@dataclass(frozen=True, eq=False)
class Axes(Run):
    """The run whose SAEs are `neurons`; all that reads SAEs reads these in the same way."""

    @lru_cache  # noqa: B019
    def sae_stage(self, name: str, bar=None):
        """The result that holds a dictionary per seed, all equal."""
        domains, weights = self.lineage.sae_text(name)
        # no step of training, only what comes before it: the scale and the centre of the first buffer
        before = dataclasses.replace(self.lineage.sae, kind="topk", width=1, k=1, tokens=1, seeds=(0,))

        def build(folder):
            blocks = [self.corpus.blocks(d, "train") for d in domains]
            (one,), _ = training.train(self.model(name), blocks, weights, before, name)
            for seed in self.lineage.sae.seeds:
                sae.save(neurons(one, self.lineage.sae.k, seed), folder / f"seed{seed}")

        return self.stage(f"axes-{name}", build, [before, self.lineage.sae.k, self.lineage.sae.seeds, domains, weights],
                          [self.corpus_stage, self.model_stage(name)])


def of_neurons(run: Run) -> Axes:
    """The run with `neurons` in place of its SAEs, for its first two seeds."""
    config = dataclasses.replace(run.lineage.sae, kind="topk", seeds=run.lineage.sae.seeds[:2])
    return Axes(dataclasses.replace(run.lineage, sae=config), run.root, run.figures, given=run.given)
