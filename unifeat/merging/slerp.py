"""Merging two models tensor by tensor: SLERP, and linear interpolation beside it."""

import math

import torch

PARALLEL = 0.9995  # |cos| above which the arc is taken for a line, as in mergekit


def slerp(a, b, t: float):
    """Spherical interpolation from `a` (t = 0) to `b` (t = 1), of tensors or of state dicts tensor by tensor.

        theta = angle(a, b);  (sin((1 - t) theta) a + sin(t theta) b) / sin theta

    each tensor flattened to one vector, in float64, given back in its own dtype (Shoemake 1985, "Animating rotation
    with quaternion curves"). Where |cos theta| > 0.9995 the arc is replaced by the chord (`lerp`).

    Raises:
        ValueError: t outside [0, 1]; keys, shapes or dtypes that differ; NaN or infinity; a zero vector. The message
            names the tensor.

    >>> slerp(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0]), 1 / 3).square().round(decimals=3).tolist()
    [6.75, 2.25]
    """
    return _merge(a, b, t, _slerp)


def lerp(a, b, t: float):
    """Linear interpolation (1 - t) a + t b, with the same arguments, checks and orientation as `slerp`.

    >>> lerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.25).tolist()
    [0.75, 0.25]
    """
    return _merge(a, b, t, _lerp)


def angles(a: dict, b: dict) -> dict[str, float]:
    """Angle in degrees between the two models' tensors, by name.

    >>> angles({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])})
    {'w': 90.0}
    """
    _check(a, b, 0.0)
    return {name: math.degrees(math.acos(_cosine(a[name], b[name]))) for name in a}


def straight(a: dict, b: dict) -> list[str]:
    """Names of the tensors that `slerp` interpolates linearly because they are all but parallel."""
    return [name for name in a if abs(_cosine(a[name], b[name])) > PARALLEL]


def between(rule, a: dict, b: dict, t: float) -> dict:
    """`rule` (slerp or lerp) on two state dicts; what is equal in both stays as it is, be it zero.

    Raises:
        ValueError: what `rule` refuses.
    """
    if a.keys() != b.keys():
        return rule(a, b, t)
    moved = differing(a, b)
    return a | rule({name: a[name] for name in moved}, {name: b[name] for name in moved}, t)


def differing(a: dict, b: dict) -> list[str]:
    """Names of the tensors that differ between two state dicts."""
    return [name for name in a if not torch.equal(a[name], b[name])]


def _merge(a, b, t, rule):
    if isinstance(a, torch.Tensor):
        return _merge({"tensor": a}, {"tensor": b}, t, rule)["tensor"]
    _check(a, b, t)
    ends = {0.0: a, 1.0: b}  # exact copies, without a rounding error
    return {name: ends[t][name].clone() if t in ends else
            rule(a[name].double().flatten(), b[name].double().flatten(), t).view_as(a[name]).to(a[name].dtype)
            for name in a}


def _lerp(a, b, t):
    return (1 - t) * a + t * b


def _slerp(a, b, t):
    cosine = _cosine(a, b)
    if abs(cosine) > PARALLEL:
        return _lerp(a, b, t)
    theta = math.acos(cosine)
    return (math.sin((1 - t) * theta) * a + math.sin(t * theta) * b) / math.sin(theta)


def _cosine(a, b) -> float:
    a, b = a.double().flatten(), b.double().flatten()
    return max(-1.0, min(1.0, (a @ b / (a.norm() * b.norm())).item()))


def _check(a: dict, b: dict, t: float) -> None:
    if not 0 <= t <= 1:
        raise ValueError(f"t = {t} lies outside [0, 1]; t = 0 is the first model, t = 1 the second.")
    if odd := sorted(a.keys() ^ b.keys()):
        raise ValueError(f"Only one of the two models has the tensor {odd[0]}; merge models of one architecture.")
    for name in a:
        x, y = a[name], b[name]
        if x.shape != y.shape:
            raise ValueError(f"Tensor {name} has shape {tuple(x.shape)} in one model and {tuple(y.shape)} in the "
                             "other; merge models of one size and vocabulary.")
        if x.dtype != y.dtype:
            raise ValueError(f"Tensor {name} is {x.dtype} in one model and {y.dtype} in the other; convert one.")
        for value in (x, y):
            if not torch.isfinite(value).all():
                raise ValueError(f"Tensor {name} holds NaN or infinity; such a model cannot be merged.")
            if not value.any():
                raise ValueError(f"Tensor {name} is zero everywhere and has no direction; it cannot be merged.")
