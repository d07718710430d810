"""Small SAEs and activations that the tests of this room share."""

import dataclasses

import torch

from unifeat import lineage, sae
from unifeat.sae import training

SMOKE = lineage.read("smoke")
CONFIG = dataclasses.replace(SMOKE.sae, width=12, k=3, batch=16, tokens=160, lr=1e-2, warmup=1)


def make(kind="topk", seed=0, d=5, **more) -> sae.Sae:
    """An SAE with encoder and biases off those that it is initialised with."""
    one = training.init(dataclasses.replace(CONFIG, kind=kind, **more), d, seed, 1.7, torch.arange(d) * 0.1)
    generator = torch.Generator().manual_seed(seed)
    one.w_enc = one.w_enc + 0.3 * torch.randn(one.w_enc.shape, generator=generator)
    one.b_enc = 0.2 * torch.randn(one.b_enc.shape, generator=generator)
    return one


def inputs(n=16, d=5, seed=1) -> torch.Tensor:
    """Activations (n, d)."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
