"""From a hook point straight through the residual stream to the logits, on any architecture."""

import torch

from unifeat import lm


def final_norm(model) -> torch.nn.Module:
    """The norm before the unembedding: the last part of the model with one weight per dimension."""
    return [part for part in model.base_model.children() if getattr(part, "weight", torch.empty(())).ndim == 1][-1]


def residual(model, directions: torch.Tensor, hook: str = lm.HOOK) -> torch.Tensor:
    """What directions (n, d) at `hook` write into the residual stream, (n, d_model)."""
    if not hook.endswith(".mlp.hook_post"):
        return directions
    projection = lm.hook_module(model, hook)  # GPT-2's keep their weights the other way round (Conv1D)
    return directions @ (projection.weight.T if isinstance(projection, torch.nn.Linear) else projection.weight)


def logits(model, written: torch.Tensor) -> torch.Tensor:
    """How what is `written` into the residual stream (n, d_model) moves the logits, (n, vocab), for a small write.

    Through the final norm's gain and the unembedding; a LayerNorm also takes out the mean. The norm's division, one
    positive factor per token, is left out.
    """
    norm = final_norm(model)
    if isinstance(norm, torch.nn.LayerNorm):
        written = written - written.mean(1, keepdim=True)
    return (written * norm.weight) @ model.get_output_embeddings().weight.T


def unembed(model, stream: torch.Tensor) -> torch.Tensor:
    """Logits (n, vocab) of the residual stream (n, d_model) before the final norm."""
    return model.get_output_embeddings()(final_norm(model)(stream))
