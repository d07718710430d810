"""The language model: built, trained, loaded from a folder, evaluated, read and changed at a hook point.

Start with `load(folder)` (any causal model in Hugging Face layout) or `build(settings, vocab, context)`; then
`evaluate(model, blocks)` for losses and `activations(model, tokens, hook)` for what an SAE reads. `training.train`
trains, `logit_lens` goes from a hook point to the logits, `ngram` is the baseline, a mixture of Kneser-Ney models,
`nulls` are changes that should change no feature. `value_network` adds the logits of a small model to those of a frozen
one, `value_logits` does so in `generate`, `vocabulary_map` carries them to another vocabulary; `lora` is low-rank
adaptation. `plain` states the fast kernels as formulas.
"""

from unifeat.lm.attention import kernel
from unifeat.lm.device import autocast, compute_dtype, device, tiles
from unifeat.lm.evaluate import CHUNK, evaluate, sample
from unifeat.lm.hooks import HOOK, HOOKS, ModelError, activations, bridge, hook_module, hooked, layers
from unifeat.lm.model import build, describe, load, save, weights_hash
from unifeat.lm.proof import prove
from unifeat.lm.way import head

__all__ = ["CHUNK", "HOOK", "HOOKS", "ModelError", "activations", "autocast", "bridge", "build",
           "compute_dtype", "describe", "device", "evaluate", "head", "hook_module", "hooked", "kernel", "layers",
           "load", "prove", "sample", "save", "tiles", "weights_hash"]
