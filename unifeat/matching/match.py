"""Partners between the features of two SAEs, the share that persists, and where it lies between null and ceiling."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

RULES = ("best", "mutual", "one_to_one")
SIDES = ("parent", "child")  # a, the rows of r, and b
TAUS = np.round(np.linspace(0, 1, 41), 3)  # grid of the threshold curves; holds 0.8
ROUNDING = 1e-9  # an exact copy has r = 1 up to this


@dataclass(frozen=True)
class Match:
    """Partners between features of `a` (rows of r) and of `b` (columns), under the three rules.

    partner_of_a, partner_of_b: index of the best match on the other side (many to one);
    mutual: (pairs, 2) that are each other's best; assigned: (pairs, 2), the one-to-one assignment (Hungarian)
    with the greatest summed r.
    """

    r: np.ndarray
    partner_of_a: np.ndarray
    partner_of_b: np.ndarray
    mutual: np.ndarray
    assigned: np.ndarray

    def pairs(self, rule: str, side: str) -> np.ndarray:
        """Pairs (n, 2) that `rule` allows; for "best", one pair per feature of `side` ("parent" = a, "child" = b)."""
        if rule == "mutual":
            return self.mutual
        if rule == "one_to_one":
            return self.assigned
        if side == "parent":
            return np.stack([np.arange(len(self.partner_of_a)), self.partner_of_a], axis=1)
        return np.stack([self.partner_of_b, np.arange(len(self.partner_of_b))], axis=1)


def match(r: np.ndarray) -> Match:
    """All three matchings from correlations r (n_a, n_b); NaN never matches.

    >>> match(np.array([[0.9, 0.8], [0.85, 0.1]])).assigned.tolist()
    [[0, 1], [1, 0]]
    """
    if np.isnan(r).any():
        r = np.nan_to_num(r, nan=-1.0)
    if 0 in r.shape:
        none = np.zeros((0, 2), dtype=int)
        return Match(r, np.zeros(0, int), np.zeros(0, int), none, none)
    of_a, of_b = r.argmax(1), np.empty(r.shape[1], dtype=int)
    rows, columns = np.nonzero(r == r.max(0))  # argmax(0) would jump through memory
    of_b[columns[::-1]] = rows[::-1]  # the first of equals comes last and stays
    rows = np.flatnonzero(of_b[of_a] == np.arange(len(of_a)))
    assigned = np.stack(linear_sum_assignment(r, maximize=True), axis=1)
    return Match(r, of_a, of_b, np.stack([rows, of_a[rows]], axis=1), assigned)


def persistence(found: Match, taus=TAUS, of=(None, None)) -> dict[tuple[str, str], np.ndarray]:
    """Share of features with a partner at r >= tau: {(rule, side): array over taus}; NaN if there are none.

    of: masks of the features that are counted on each side, None for all; their partners may be any.
    """
    out, taus = {}, np.asarray(taus, float)
    for rule in RULES:
        for axis, side in enumerate(SIDES):
            pairs, n = counted(found, rule, side, of[axis])
            r = np.sort(found.r[pairs[:, 0], pairs[:, 1]])
            out[rule, side] = (len(r) - np.searchsorted(r, taus - ROUNDING)) / n if n else np.full(len(taus), np.nan)
    return out


def counted(found: Match, rule: str, side: str, of: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Pairs (n, 2) whose feature of `side` is in the mask `of` (None: all), and how many features that mask has."""
    pairs, axis = found.pairs(rule, side), SIDES.index(side)
    return (pairs, found.r.shape[axis]) if of is None else (pairs[of[pairs[:, axis]]], int(of.sum()))


def permute(b, seed: int):
    """Rows of `b` in random order: the token-permutation null keeps every density and breaks every agreement."""
    return b[np.random.default_rng(seed).permutation(b.shape[0])]


def permute_within(tokens: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and for each of them another row of the same token: the null that leaves only what the token gives.

    tokens (n,): the current token of every row. Each token's rows are shuffled and every row takes the next one, so
    that none keeps its own; rows of a token that stands once are left out.

    >>> rows, others = permute_within(np.array([7, 5, 7, 9]), 0)
    >>> rows.tolist(), others.tolist()
    ([0, 2], [2, 0])
    """
    shuffled = np.random.default_rng(seed).permutation(len(tokens))
    rows = shuffled[np.argsort(tokens[shuffled], kind="stable")]
    _, starts, counts = np.unique(tokens[rows], return_index=True, return_counts=True)
    others = np.roll(rows, -1)
    others[starts + counts - 1] = rows[starts]
    kept = np.repeat(counts, counts) > 1
    order = np.argsort(rows[kept])
    return rows[kept][order], others[kept][order]


def excess(observed, ceiling, null):
    """(observed - null) / (ceiling - null); NaN where ceiling and null do not differ.

    >>> excess(0.3, 0.5, 0.1).round(3).item()
    0.5
    """
    room = np.asarray(ceiling, float) - null
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(room > 0, (np.asarray(observed, float) - null) / room, np.nan)
