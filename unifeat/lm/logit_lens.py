"""From a hook point straight through the residual stream to the logits, on any architecture."""

import torch

from unifeat.lm.hooks import HOOK, ModelError, hook_module, layers
from unifeat.lm.way import head, way

SMALL = 1e-2  # how small a write is where the head is no matrix


def final_norm(model) -> torch.nn.Module:
    """The norm before the unembedding: the last part outside the blocks with one weight per dimension, or with none.

    Raises:
        ModelError: the model has no norm after its blocks.
    """
    inside = {id(part) for block in layers(model) for part in block.modules()}
    norms = [part for part in model.base_model.modules() if id(part) not in inside and _is_norm(part)]
    if not norms:
        raise ModelError(f"{type(model).__name__} has no norm after its last block; give a model that has one, such as "
                         "Llama, Mistral, GPT-2 or GPT-NeoX.")
    return norms[-1]


def _is_norm(part: torch.nn.Module) -> bool:
    return getattr(part, "weight", torch.empty(0, 0)).ndim == 1 or type(part).__name__.endswith("Norm")


def residual(model, directions: torch.Tensor, hook: str = HOOK) -> torch.Tensor:
    """What directions (n, d) at `hook` write into the residual stream, (n, d_model).

    Where a factor or a norm stands between the MLP and the stream, it is the mean one of `proof`'s tokens.
    """
    gain = way(model).gains.get(hook)
    if hook.endswith(".mlp.hook_post"):
        projection = hook_module(model, hook)
        weight = projection.weight.T if isinstance(projection, torch.nn.Linear) else projection.weight  # GPT-2's Conv1D
        directions = directions @ weight
    return directions if gain is None else directions * gain


def logits(model, written: torch.Tensor) -> torch.Tensor:
    """How what is `written` into the residual stream (n, d_model) moves the logits, (n, vocab), for a small write.

    Through the final norm's gain and the unembedding; a LayerNorm also takes out the mean. The norm's division, one
    positive factor per token, is left out, and so is the bend of a soft cap: its slope is that at zero.
    """
    gain, centred = norm_gain(final_norm(model), written.shape[1])
    if centred:
        written = written - written.mean(1, keepdim=True)
    written = written * gain
    if way(model).plain_head:
        return written @ model.get_output_embeddings().weight.T
    return (head(model)(SMALL * written) - head(model)(-SMALL * written)) / (2 * SMALL)


def norm_gain(norm: torch.nn.Module, d: int) -> tuple[torch.Tensor, bool]:
    """A norm's gain (d,) and whether it takes out the mean, from what it does: its weight w, 1 + w, or none.

    The gain is read off a vector x of mean 0 and mean square 1, which any norm only multiplies by it.
    """
    weight = getattr(norm, "weight", None)
    like = torch.empty(0) if weight is None else weight
    x = torch.ones(1, d, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        centred = torch.allclose(norm(x), norm(-x), atol=1e-6, rtol=1e-4)
        x[:, -1] = 1 - d
        x /= (d - 1) ** 0.5
        gain = ((norm(x) - norm(-x)) / (2 * x))[0]
    return (weight if weight is not None and torch.allclose(gain, weight, rtol=1e-3, atol=1e-5) else gain), centred


def unembed(model, stream: torch.Tensor) -> torch.Tensor:
    """Logits (n, vocab) of the residual stream (n, d_model) before the final norm."""
    return head(model)(final_norm(model)(stream))
