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
EXPERTS = re.compile("expert|router|moe")
MLPS = ("mlp", "feed_forward", "ffn", "mlp_block", "fc2")  # a block's MLP (in OPT its last projection alone)
NORMS = ("post_feedforward_layernorm", "post_mlp_layernorm", "post_ffn_norm", "post_norm2")  # after it, if any
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")  # and their greatest length of text


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
        if isinstance(module, torch.nn.ModuleList) and len(module) and _mlp(module[0]) is not None:
            return module
    if any(EXPERTS.search(name) for name, _ in model.named_modules()):
        raise ModelError(f"{type(model).__name__} is a mixture of experts, whose MLPs have no single last projection; "
                         "use a dense model.")
    raise ModelError(f"{type(model).__name__} has no blocks with an MLP; use a causal language model such as Mistral, "
                     "Llama, GPT-2 or GPT-NeoX, with at least one layer.")


def _mlp(block) -> torch.nn.Module | None:
    found = (getattr(block, name, None) for name in MLPS)
    return next((part for part in found if isinstance(part, torch.nn.Module)), None)


def projection(block) -> torch.nn.Module:
    """The last projection of a block's MLP.

    Raises:
        ModelError: a mixture of experts, which has several, or none.
    """
    mlp = _mlp(block)
    if mlp is not None and any(EXPERTS.search(name) for name, _ in (*mlp.named_modules(), *mlp.named_parameters())):
        raise ModelError(f"{type(block).__name__} holds a mixture of experts, which has no single last projection; use "
                         "a dense model.")
    parts = [] if mlp is None else [part for part in mlp.modules() if getattr(part, "weight", torch.empty(0)).ndim == 2]
    if not parts:
        raise ModelError(f"{type(block).__name__} has no MLP with a last projection; use a dense transformer.")
    return parts[-1]


def context(model) -> int:
    """The most tokens that the model reads at once; 2,048 for one that sets no limit (positions by ALiBi)."""
    found = (getattr(model.config, name, None) for name in CONTEXTS)
    return next((length for length in found if isinstance(length, int) and length > 0), 2048)


def hook_module(model, hook: str = HOOK) -> torch.nn.Module:
    """The module at a hook point, named as in TransformerLens (see HOOKS): the activation is its output.

    For blocks.{i}.mlp.hook_post it is the MLP's last projection, and the activation is its *input*. Where a norm
    stands between the MLP and the residual stream (Gemma 2), hook_mlp_out is what comes out of it.

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
    norms = [getattr(block, name) for name in NORMS if found[2] == "hook_mlp_out" and hasattr(block, name)]
    return norms[0] if norms else projection(block)


def tensor(output) -> torch.Tensor:
    """The hidden states in what a block gives: a tensor, or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple | list) else output


@contextlib.contextmanager
def hooked(model, change, hook: str = HOOK):
    """Within the context, the activation x (batch, context, d) at `hook` becomes change(x), or stays if None."""
    module, shape = hook_module(model, hook), []

    def changed(x):
        new = change(x.reshape(*shape, -1))  # OPT's MLP gets (batch * context, d)
        return x if new is None else new.to(x.dtype).reshape(*x.shape[:-1], -1)

    def before(_, args):
        return changed(args[0]), *args[1:]

    def after(_, __, output):
        return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

    def measure(_, args, options):
        shape[:] = (args[0] if args else options["hidden_states"]).shape[:2]

    handles = [layers(model)[int(hook.split(".")[1])].register_forward_pre_hook(measure, with_kwargs=True),
               module.register_forward_pre_hook(before) if hook.endswith(".mlp.hook_post") else
               module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def activations(model, tokens: torch.Tensor, hook: str = HOOK) -> torch.Tensor:
    """Activations (batch, context, d) at `hook` for `tokens` (batch, context), in the dtype of computation."""
    kept = []

    def keep(x):
        kept.append(x)
        raise _Enough  # later blocks would compute what nobody reads

    with hooked(model, keep, hook), autocast(), contextlib.suppress(_Enough):
        model.base_model(input_ids=tokens, use_cache=False)
    return kept[0]


class _Enough(Exception):
    """Ends a forward pass."""
