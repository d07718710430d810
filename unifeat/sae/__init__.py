"""Sparse autoencoders (SAEs) of a model's activations: relu, topk and batchtopk.

Start with `load(folder)`, which gives an `Sae` with `.encode(x)` and `.decode(f)`; `evaluate(saes, model, blocks)` says
how well it describes a model. `training.train` trains several seeds on one stream of activations, with the hand-written
`gradients`; `features` are an SAE's latents over a text, as sparse matrices; `formats` are other libraries' layouts.
`plain` states the fast kernels as formulas.
"""

from unifeat.sae.metrics import axis_cosine, evaluate
from unifeat.sae.model import KINDS, ROWS, Sae, SaeError, act, load, save
from unifeat.sae.topk import topk

__all__ = ["KINDS", "ROWS", "Sae", "SaeError", "act", "axis_cosine", "evaluate", "topk", "load", "save"]
