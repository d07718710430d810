"""Merges of two or more models beside SLERP: each a rule on one tensor of every model, applied tensor by tensor.

State dicts in, a state dict out. Sums are in float64, results in the first model's dtype; tensors that share memory
(tied embeddings) are merged once and share it again.
"""

from collections.abc import Callable, Sequence

import torch


def linear(states: Sequence[dict], weights: Sequence[float] | None = None) -> dict:
    """The weighted mean of models; without weights a uniform soup (Wortsman et al. 2022, arXiv 2203.05482).

        theta = sum_i w_i theta_i / sum_i w_i

    >>> linear([{"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}], [3, 1])["w"].item()
    1.0
    """
    weights = _weights(weights, len(states))
    if not (total := sum(weights)):
        raise ValueError("The weights add up to 0; choose others.")
    return _each(states, lambda name, tensors: sum(w * x for w, x in zip(weights, tensors, strict=True)) / total)


def task_arithmetic(base: dict, states: Sequence[dict], weights: Sequence[float] | None = None,
                    scale: float = 1.0) -> dict:
    """The base and the children's changes (Ilharco et al. 2023, arXiv 2212.04089).

        theta = theta_0 + scale sum_i w_i (theta_i - theta_0)

    >>> one, two = {"w": torch.tensor([2.0, 1.0])}, {"w": torch.tensor([1.0, 4.0])}
    >>> task_arithmetic({"w": torch.tensor([1.0, 1.0])}, [one, two])["w"].tolist()
    [2.0, 4.0]
    """
    return _changes(base, states, weights, scale, lambda name, deltas, weights: (weights * deltas).sum(0))


def ties(base: dict, states: Sequence[dict], weights: Sequence[float] | None = None, density: float = 0.2,
         scale: float = 1.0) -> dict:
    """TIES: trim each change to its largest entries, elect a sign per entry, average those that agree with it.

    Of every tensor's change the share `density` of largest magnitude is kept; the sign is that of the weighted sum;
    the mean is weighted, over the kept entries of that sign (Yadav et al. 2023, arXiv 2306.01708, algorithm 1).

    >>> one, two = {"w": torch.tensor([3.0, 1.0])}, {"w": torch.tensor([-2.0, 2.0])}
    >>> ties({"w": torch.zeros(2)}, [one, two], density=1.0)["w"].tolist()
    [3.0, 1.5]
    """
    _share(density)

    def rule(name, deltas, weights):
        deltas = weights * torch.stack([trimmed(delta, density) for delta in deltas])
        agree = (torch.sign(deltas) == torch.where(deltas.sum(0) >= 0, 1.0, -1.0)) & (deltas != 0)
        total = (weights * agree).sum(0)
        return (deltas * agree).sum(0) / torch.where(total == 0, 1.0, total)

    return _changes(base, states, weights, scale, rule)


def dare(base: dict, states: Sequence[dict], weights: Sequence[float] | None = None, density: float = 0.5,
         scale: float = 1.0, seed: int = 0) -> dict:
    """DARE: entries of every change are dropped at random and the rest scaled up, then added as in task arithmetic.

        delta' = m delta / density,  m ~ Bernoulli(density)        (Yu et al. 2024, arXiv 2311.03099, section 3)

    >>> torch.equal(dare({"w": torch.zeros(3)}, [{"w": torch.ones(3)}], density=1.0)["w"], torch.ones(3))
    True
    """
    _share(density)
    generator = torch.Generator().manual_seed(seed)

    def rule(name, deltas, weights):
        kept = torch.rand(deltas.shape, generator=generator, dtype=torch.float64) < density
        return (weights * deltas * kept / density).sum(0)

    return _changes(base, states, weights, scale, rule)


def fisher(states: Sequence[dict], fishers: Sequence[dict], weights: Sequence[float] | None = None) -> dict:
    """The mean weighted by each parameter's Fisher information (Matena & Raffel 2022, arXiv 2111.09832, equation 3).

        theta = sum_i w_i F_i theta_i / sum_i w_i F_i

    fishers: as from `estimates.fisher`; where all are 0, and for tensors without one, it is the weighted mean.

    >>> linear_ = fisher([{"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}],
    ...                  [{"w": torch.tensor([3.0])}, {"w": torch.tensor([1.0])}])
    >>> linear_["w"].item()
    1.0
    """
    weights = _weights(weights, len(states))

    def rule(name, tensors):
        own = torch.stack([torch.ones_like(x) if name not in f else f[name].double()
                           for x, f in zip(tensors, fishers, strict=True)])
        own = _along(weights, own) * torch.where(own.sum(0) == 0, 1.0, own)
        return (own * torch.stack(list(tensors))).sum(0) / own.sum(0)

    return _each(states, rule)


def regmean(states: Sequence[dict], grams: Sequence[dict], alpha: float = 0.9) -> dict:
    """Linear layers whose outputs are nearest to all models' own, by least squares on each one's inputs.

        W^T = (sum_i G_i)^-1 sum_i G_i W_i^T,  G_i = alpha X_i^T X_i + (1 - alpha) diag(X_i^T X_i)

    (Jin et al. 2023, arXiv 2212.09849, equations 2 and 3.) grams: as from `estimates.grams`, (in, in) by the name of a
    weight (out, in); other tensors are averaged.
    """
    def rule(name, tensors):
        if name not in grams[0]:
            return sum(tensors) / len(tensors)
        shrunk = [alpha * g + (1 - alpha) * torch.diag(g.diag()) for g in (gram[name].double() for gram in grams)]
        total = sum(g @ x.T for g, x in zip(shrunk, tensors, strict=True))
        return torch.linalg.lstsq(sum(shrunk), total, driver="gelsd").solution.T  # inputs that never fire: least norm

    return _each(states, rule)


def trimmed(delta: torch.Tensor, density: float) -> torch.Tensor:
    """`delta` with its share `density` of entries of largest magnitude kept (one at least), the others 0.

    >>> trimmed(torch.tensor([1.0, -3.0, 2.0, 0.5]), 0.5).tolist()
    [0.0, -3.0, 2.0, 0.0]
    """
    k = max(1, int(density * delta.numel()))
    kept = torch.zeros(delta.numel(), dtype=torch.bool)
    kept[delta.abs().flatten().argsort(descending=True, stable=True)[:k]] = True
    return torch.where(kept.view(delta.shape), delta, 0.0)


def _changes(base: dict, states, weights, scale: float, rule: Callable) -> dict:
    """base + scale rule(name, deltas, weights), deltas (models, ...) and weights that multiply them."""
    weights = _weights(weights, len(states))

    def added(name, tensors):
        first, *others = tensors
        deltas = torch.stack([other - first for other in others])
        return first + scale * rule(name, deltas, _along(weights, deltas))

    return _each([base, *states], added)


def _each(states: Sequence[dict], rule: Callable) -> dict:
    """rule(name, tensors in float64) for every floating tensor; others are the first model's.

    Raises:
        ValueError: fewer than two models, or tensors that differ in name or shape or are not finite.
    """
    first, out, made = states[0], {}, {}
    if len(states) < 2:
        raise ValueError("A merge needs two models or more.")
    for other in states[1:]:
        if odd := sorted(first.keys() ^ other.keys()):
            raise ValueError(f"Only one of two models has the tensor {odd[0]}; merge models of one architecture.")
    for name, value in first.items():
        tensors = [state[name] for state in states]
        if any(x.shape != value.shape for x in tensors):
            raise ValueError(f"Tensor {name} has the shapes {', '.join(str(tuple(x.shape)) for x in tensors)}; merge "
                             "models of one size and vocabulary.")
        if not value.is_floating_point():
            out[name] = value.clone()
            continue
        if not all(torch.isfinite(x).all() for x in tensors):
            raise ValueError(f"Tensor {name} holds NaN or infinity; such a model cannot be merged.")
        place = (*(x.data_ptr() for x in tensors), value.shape)
        if place not in made:
            made[place] = rule(name, [x.double() for x in tensors]).to(value.dtype)
        out[name] = made[place]
    return out


def _weights(weights, count: int) -> list[float]:
    found = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(found) != count or not all(map(torch.isfinite, map(torch.tensor, found))):
        raise ValueError(f"The weights are {found} and the models {count}; give one finite number for each.")
    return found


def _along(weights, values: torch.Tensor) -> torch.Tensor:
    """One weight per row of `values` (models, ...)."""
    return torch.tensor(weights, dtype=torch.float64).view(-1, *[1] * (values.ndim - 1))


def _share(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density is {density}; choose a share above 0, at most 1.")
