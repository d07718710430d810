"""Hook points: activations read, or replaced, inside a model."""

import contextlib
import re
from pathlib import Path

import torch

from unifeat.lm.device import autocast
from unifeat.support.errors import UnifeatError

HOOK = "blocks.0.mlp.hook_post"  # TransformerLens's name of the activation inside the first MLP
HOOKS = {"mlp.hook_post": "the input of the MLP's last projection", "hook_mlp_out": "the MLP's output",
         "hook_resid_post": "the block's output"}


class ModelError(UnifeatError):
    """A model folder that is not one of ours, or not the one that was meant."""


def bridge(folder: str | Path):
    """TransformerLens's view of the model in `folder`, for exploring (hook names, caches, ablations)."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)


def layers(model) -> torch.nn.ModuleList:
    """The transformer blocks of a Hugging Face model, whatever its architecture calls them.

    Raises:
        ModelError: it has none that look like blocks with an MLP.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) and hasattr(module[0], "mlp"):
            return module
    raise ModelError(f"{type(model).__name__} has no blocks with an MLP; use a causal language model such as Mistral, "
                     "Llama, GPT-2 or GPT-NeoX, with at least one layer.")


def hook_module(model, hook: str = HOOK) -> torch.nn.Module:
    """The module at a hook point, named as in TransformerLens (see HOOKS): the activation is its output.

    For blocks.{i}.mlp.hook_post it is the MLP's last projection, and the activation is its *input*.

    Raises:
        ModelError: another name, or a block that the model does not have.
    """
    parts, found = layers(model), re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    if found is None or found[2] not in HOOKS or int(found[1]) >= len(parts):
        raise ModelError(f"{hook!r} is no hook point of this model; use blocks.N.{{{', '.join(HOOKS)}}} with N from 0 "
                         f"to {len(parts) - 1}.")
    block = parts[int(found[1])]
    if found[2] == "hook_resid_post":
        return block
    if found[2] == "hook_mlp_out":
        return block.mlp
    return [part for part in block.mlp.modules() if getattr(part, "weight", torch.empty(0)).ndim == 2][-1]


@contextlib.contextmanager
def hooked(model, change, hook: str = HOOK):
    """Within the context, the activation x (batch, context, d) at `hook` becomes change(x), or stays if None."""
    def before(_, args):
        new = change(args[0])
        return None if new is None else (new.to(args[0].dtype), *args[1:])

    def after(_, __, output):
        x, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        new = change(x)
        new = x if new is None else new.to(x.dtype)
        return new if rest is None else (new, *rest)

    module = hook_module(model, hook)
    handle = (module.register_forward_pre_hook(before) if hook.endswith(".mlp.hook_post") else
              module.register_forward_hook(after))
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def activations(model, tokens: torch.Tensor, hook: str = HOOK) -> torch.Tensor:
    """Activations (batch, context, d) at `hook` for `tokens` (batch, context), in the dtype of computation."""
    kept = []
    with hooked(model, kept.append, hook), autocast():
        model.base_model(input_ids=tokens, use_cache=False)
    return kept[0]
