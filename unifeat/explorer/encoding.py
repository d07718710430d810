"""Activations as digits, one character each: how the explorer's page holds them.

The digits 0 to LEVELS are shares of the feature's greatest activation on the comparison text (`peak`).
"""

import numpy as np

from unifeat.autointerp import rules

LEVELS = 35
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
POINTS = 36  # of a scatter


def shade(f, j, window, peak) -> str:
    """Activations of column j of f (CSC) at the comparison text's tokens `window` (-1: a special token)."""
    where, values = rules.column(f, j)
    if not len(where) or not peak > 0:
        return "0" * len(window)
    spot = np.minimum(np.searchsorted(where, window), len(where) - 1)
    found = np.where(where[spot] == window, values[spot], 0)
    return "".join(DIGITS[level] for level in np.ceil(np.clip(found / peak, 0, 1) * LEVELS).astype(int))


def scatter(a, i, peak_a, b, j, peak_b) -> str:
    """Pairs of digits: columns i of a and j of b (CSC) at POINTS tokens, spread evenly over the ranks of those where
    one of them fires.
    """
    (rows_a, x), (rows_b, y) = rules.column(a, i), rules.column(b, j)
    fires = np.zeros(a.shape[0], bool)  # marked and looked up by token: several times faster than by sorting
    fires[rows_a] = fires[rows_b] = True
    rows, place = np.flatnonzero(fires), np.empty(a.shape[0], int)
    place[rows] = np.arange(len(rows))
    levels = np.zeros((2, len(rows)))
    for k, (where, values, peak) in enumerate(((rows_a, x, peak_a), (rows_b, y, peak_b))):
        levels[k, place[where]] = values / max(peak, 1e-12)
    order = _ranked(levels.sum(0), np.unique(np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).round().astype(int)))
    return "".join(DIGITS[v] for v in np.ceil(np.clip(levels[:, order], 0, 1) * LEVELS).astype(int).T.ravel())


def _ranked(x: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Where in x the values of these ranks are, ties by place: argsort(x, kind="stable")[ranks] in a third of its time.

    >>> _ranked(np.array([2.0, 1.0, 2.0, 0.0]), np.array([0, 2, 3])).tolist()
    [3, 0, 2]
    """
    order = np.argsort(x)
    ordered = x[order]
    first, last = (np.searchsorted(ordered, ordered[ranks], side) for side in ("left", "right"))
    for i in np.flatnonzero(last - first > 1):
        order[first[i]:last[i]].sort()
    return order[ranks]
