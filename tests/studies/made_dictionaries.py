"""A run of one tiny language model under several names, whose SAEs and features are made by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from scipy import sparse

from unifeat import lm, sae
from unifeat.lineage import read
from unifeat.lineage.settings import Model
from unifeat.matching.comparison import Comparison

TINY = Model(layers=1, d_model=16, d_mlp=24, heads=2, kv_heads=1, norm_eps=1e-6, rope_theta=1e4, seed=0)
VOCAB, CONTEXT, FEATURES = 50, 12, 8


def text() -> dict:
    """20 blocks; documents of 7 tokens; the special token 0 is left out, as in Run.comparison_text."""
    blocks = np.random.default_rng(0).integers(0, VOCAB, (20, CONTEXT))
    block, position = np.nonzero(blocks)
    return dict(blocks=blocks, block=block, position=position, document=np.arange(len(block)) // 7,
                domain=np.zeros(len(block), int))


def activations(seed: int, n: int = FEATURES) -> np.ndarray:
    """Features (tokens, n) that fire on a fifth of the tokens each."""
    rng, tokens = np.random.default_rng(seed), len(text()["block"])
    return np.where(rng.random((tokens, n)) < 0.2, rng.uniform(3, 6, (tokens, n)), 0).astype(np.float32)


def directions(seed: int, n: int = FEATURES) -> torch.Tensor:
    """Orthonormal decoder rows (n, d_mlp)."""
    return torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(seed)))[0][:n].contiguous()


def dictionary(f: np.ndarray, w_dec: torch.Tensor, scale: float = 1.0) -> tuple:
    """An SAE that writes w_dec, and its features."""
    n = len(w_dec)
    return sae.Sae("topk", 2, w_dec, torch.zeros(n), w_dec, torch.zeros(24), scale), sparse.csr_matrix(f)


def made_run(folder, saes: dict, r: dict, edges=(("up", "down"),)) -> SimpleNamespace:
    """A run of `saes`, {(model, seed): dictionary(...)}, whose feature k is matched with feature k at r[a, b][k].

    run.asked holds the comparisons asked for, run.stages the config and inputs of each stage.
    """
    model, p, asked, stages = lm.build(TINY, VOCAB, CONTEXT), read("smoke"), [], {}
    p = SimpleNamespace(comparison=p.comparison, sae=p.sae, edges=edges)

    def compare(a, b):
        asked.append((a, b))
        at = np.arange(len(r[a, b]))
        return Comparison(a, b, *(np.arange(saes[which][1].shape[1]) for which in (a, b)),
                          dict(assigned=np.stack([at, at], 1), r_assigned=np.asarray(r[a, b], float)))

    def stage(name, build, config=None, inputs=()):
        stages[name] = SimpleNamespace(config=config, inputs=list(inputs), folder=folder / name)
        stages[name].folder.mkdir(parents=True, exist_ok=True)
        build(stages[name].folder)
        return stages[name]

    return SimpleNamespace(lineage=p, model=lambda name: model, sae=lambda *which: saes[which][0], compare=compare,
                           features=lambda *which: saes[which][1], comparison_text=text(), stage=stage, asked=asked,
                           feature_stage=lambda name: f"features of {name}", stages=stages)


def with_tau(run, tau: float):
    """The same run at another threshold."""
    run.lineage.comparison = dataclasses.replace(run.lineage.comparison, tau=tau)
    return run
