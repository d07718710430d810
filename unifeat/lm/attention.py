"""Causal attention for short contexts on a CPU: matrix products around one softmax, with its gradient written out."""

import functools

import torch

NAME = "unifeat"  # for attn_implementation
CHANGES = ("softcap", "s_aux", "sinks", "position_bias", "head_mask", "indexer_bias")  # what some models ask for more


class _Causal(torch.autograd.Function):
    """softmax(scale q k^T + mask) v, computed in the dtype of v. The plain twin is `plain.attention`.

    Faster than torch's fused kernel on a CPU up to a few hundred tokens, and lighter than autograd, which keeps float32
    copies of the scores. Queries that share a key head are stacked along the query axis. Shapes: q (batch * key heads,
    queries, d), k and v (batch * key heads, tokens, d), mask (queries, tokens).
    """

    @staticmethod
    def forward(ctx, q, k, v, mask, scale):
        p = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale)
        p = torch.softmax(p, -1, out=p)
        ctx.save_for_backward(q, k, v, p)
        ctx.scale = scale
        return p @ v

    @staticmethod
    def backward(ctx, grad):
        q, k, v, p = ctx.saved_tensors
        dz = grad @ v.transpose(1, 2)
        torch.ops.aten._softmax_backward_data.out(dz, p, -1, p.dtype, grad_input=dz)  # in the same memory
        return (dz @ k).mul_(ctx.scale), (dz.transpose(1, 2) @ q).mul_(ctx.scale), p.transpose(1, 2) @ grad, None, None


def forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **more):
    """Attention as Hugging Face models call it; all but plain causal attention is left to torch's kernel.

    query (batch, heads, tokens, d), key and value (batch, key heads, tokens, d).
    Returns (output (batch, tokens, heads, d), None).
    """
    batch, heads, tokens, d = query.shape
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if unknown := sorted(name for name in CHANGES if more.get(name) is not None):
        raise NotImplementedError(f"this attention knows no {unknown[0]}")  # `proof` then takes the model's own

    if attention_mask is not None or dropout or key.shape[2] != tokens or not getattr(module, "is_causal", True):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
    rows, dtype = batch * key.shape[1], value.dtype  # under autocast rotary embeddings leave q and k in float32
    mask = torch.full((tokens, tokens), -torch.inf, dtype=dtype, device=query.device).triu(1)
    out = _Causal.apply(query.to(dtype).reshape(rows, -1, d), key.to(dtype).reshape(rows, tokens, d),
                        value.reshape(rows, tokens, d), mask.repeat(heads // key.shape[1], 1),
                        d**-0.5 if scaling is None else scaling)
    return out.view(batch, heads, tokens, d).transpose(1, 2), None


def kernel() -> str:
    """The attention kernel to try first: torch's on a GPU, ours on a CPU."""
    return "sdpa" if torch.cuda.is_available() else register()


@functools.cache
def register() -> str:
    """Make this attention known to transformers (which takes seconds to import); returns its NAME."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # None where the mask is plainly causal
    return NAME
