"""Changes of a model that should change no feature: rounded weights, and a random step as long as a real one."""

import torch


def quantized(state: dict, bits: int) -> dict:
    """Every matrix of a state dict rounded to `bits` bits, symmetric, one scale per row: round(w / s) s, s = max|w| /
    q.

    q = 2^(bits - 1) - 1. Vectors (norms, biases) stay as they are, as in common weight quantization (round to nearest;
    Dettmers et al. 2022, arXiv 2208.07339, section 2.1 with rows for blocks).

    >>> quantized({"w": torch.tensor([[1.0, 0.2]])}, 2)["w"].tolist()
    [[1.0, 0.0]]
    """
    levels, out = 2 ** (bits - 1) - 1, {}
    for name, value in state.items():
        if value.ndim < 2 or not value.is_floating_point():
            out[name] = value.clone()
            continue
        scale = value.abs().amax(dim=-1, keepdim=True) / levels
        out[name] = (value / scale.clamp_min(torch.finfo(value.dtype).tiny)).round() * scale
    return out


def perturbed(state: dict, lengths: dict[str, float], seed: int) -> dict:
    """Every tensor moved by a random vector of a given length: w + length g / |g|, g standard normal.

    lengths: by tensor; see `update_lengths` and `own_lengths`.
    """
    generator, out = torch.Generator().manual_seed(seed), {}
    for name, value in state.items():
        if not value.is_floating_point():  # a buffer of numbers or marks
            out[name] = value.clone()
            continue
        step = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        out[name] = (value.double() + lengths[name] * step / step.norm()).to(value.dtype)
    return out


def update_lengths(parent: dict, child: dict) -> dict[str, float]:
    """How far training moved each tensor: |child - parent|."""
    return {name: (child[name].double() - value.double()).norm().item() for name, value in parent.items()}


def own_lengths(state: dict, share: float) -> dict[str, float]:
    """A share of each tensor's own length."""
    return {name: share * value.double().norm().item() for name, value in state.items()}
