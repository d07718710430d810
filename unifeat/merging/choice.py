"""Which t: the one that treats both parents alike, and the one at which a given merge was made."""

import torch

from unifeat.merging.slerp import differing, slerp


def balanced_t(sweep, first, second) -> float:
    """The t at which both parents' domains keep the same share of their own parent's accuracy.

    sweep: frame with columns method, t, domain, accuracy (rows of method slerp are read); first, second: the domains of
    the parent at t = 0 and at t = 1, whose mean accuracy counts. The first's share falls from 1 at t = 0, the second's
    rises to 1 at t = 1; their first crossing is interpolated linearly between the grid's points and rounded to 3
    digits.

    Raises:
        ValueError: the shares do not cross.
    """
    rows = sweep[sweep["method"] == "slerp"].pivot(index="t", columns="domain", values="accuracy").sort_index()
    a, b = (rows[list(domains)].mean(axis=1) for domains in (first, second))
    t, gap = rows.index.to_numpy(), (a / a.iloc[0] - b / b.iloc[-1]).to_numpy()
    after = int((gap <= 0).argmax())
    if after == 0:
        raise ValueError("The two parents' accuracies do not cross along the sweep, so no t balances them; one "
                         "parent is better on both domains.")
    step = gap[after - 1] / (gap[after - 1] - gap[after])
    return round(float(t[after - 1] + step * (t[after] - t[after - 1])), 3)


def nearest_t(a: dict, b: dict, merged: dict) -> float:
    """The t at which slerp(a, b, t) comes nearest to a given merge (least squares over all tensors), to 3 digits."""
    from scipy.optimize import minimize_scalar

    moved = differing(a, b)
    if not moved:
        return 0.5
    a, b = ({name: state[name] for name in moved} for state in (a, b))

    def distance(t):
        return sum((value - merged[name]).square().sum(dtype=torch.float64).item()
                   for name, value in slerp(a, b, float(t)).items())

    return round(float(minimize_scalar(distance, bounds=(0, 1), method="bounded", options=dict(xatol=1e-4)).x), 3)
