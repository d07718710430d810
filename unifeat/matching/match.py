"""Partners between the features of two SAEs, the share that persists, and where it lies between null and ceiling."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

RULES = ("best", "mutual", "one_to_one")
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


def persistence(found: Match, taus=TAUS) -> dict[tuple[str, str], np.ndarray]:
    """Share of features with a partner at r >= tau: {(rule, side): array over taus}; NaN if a side is empty."""
    out, taus = {}, np.asarray(taus, float)
    for rule in RULES:
        for side, n in zip(("parent", "child"), found.r.shape, strict=True):
            pairs = found.pairs(rule, side)
            r = np.sort(found.r[pairs[:, 0], pairs[:, 1]])
            out[rule, side] = (len(r) - np.searchsorted(r, taus - ROUNDING)) / n if n else np.full(len(taus), np.nan)
    return out


def permute(b, seed: int):
    """Rows of `b` in random order: the token-permutation null keeps every density and breaks every agreement."""
    return b[np.random.default_rng(seed).permutation(b.shape[0])]


def excess(observed, ceiling, null):
    """(observed - null) / (ceiling - null); NaN where ceiling and null do not differ.

    >>> excess(0.3, 0.5, 0.1).round(3).item()
    0.5
    """
    room = np.asarray(ceiling, float) - null
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(room > 0, (np.asarray(observed, float) - null) / room, np.nan)
