"""The language model: built, trained, loaded from a folder, evaluated, read and changed at a hook point.

Start with `load(folder)` (any causal model in Hugging Face layout) or `build(settings, vocab, context)`; then
`evaluate(model, blocks)` for losses and `activations(model, tokens, hook)` for what an SAE reads. `training.train`
trains, `logit_lens` goes from a hook point to the logits, `ngram` is the baseline, a mixture of Kneser-Ney models,
`nulls` are changes that should change no feature. `plain` states the fast kernels as formulas.
"""

from unifeat.lm.device import autocast, compute_dtype, device, tiles
from unifeat.lm.evaluate import CHUNK, evaluate, sample
from unifeat.lm.hooks import HOOK, HOOKS, ModelError, activations, bridge, hook_module, hooked, layers
from unifeat.lm.model import attention, build, describe, load, save, weights_hash

__all__ = ["CHUNK", "HOOK", "HOOKS", "ModelError", "activations", "attention", "autocast", "bridge", "build",
           "compute_dtype",
           "describe", "device", "evaluate", "hook_module", "hooked", "layers", "load", "sample", "save", "tiles",
           "weights_hash"]
