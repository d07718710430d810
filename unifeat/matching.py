"""Matching features across SAEs by the correlation of their activations, and what the matches are worth."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

RULES = ("best", "mutual", "one_to_one")
TAUS = np.round(np.linspace(0, 1, 41), 3)  # grid of the threshold curves; holds 0.8
ROUNDING = 1e-9  # an exact copy has r = 1 up to this


class Moments:
    """Sufficient statistics of Pearson's r between the columns of two matrices, added up batch by batch.

        r_ij = (n S_ij - S_i S_j) / sqrt((n S_ii - S_i^2) (n S_jj - S_j^2))

    all sums over tokens, zeros included, in float64.
    """

    def __init__(self):
        self.n, self.sums = 0, None

    def add(self, a, b) -> "Moments":
        """Add a batch of rows: `a` (tokens, n_a) and `b` (tokens, n_b), CSR or dense."""
        if a.shape[0] != b.shape[0]:
            raise ValueError(f"The two activation matrices have {a.shape[0]} and {b.shape[0]} rows; both must cover "
                             "the same tokens.")
        a, b = (_double(m) for m in (a, b))
        cross = a.T @ b
        new = [_total(a), _total(b), _total(_square(a)), _total(_square(b)),
               cross.toarray() if sparse.issparse(cross) else np.asarray(cross)]
        self.n += a.shape[0]
        self.sums = new if self.sums is None else [x + y for x, y in zip(self.sums, new, strict=True)]
        return self

    def pearson(self) -> np.ndarray:
        """Correlations (n_a, n_b), NaN where a side is constant."""
        a, b, aa, bb, ab = self.sums
        spread_a, spread_b = _spread(self.n, a, aa), _spread(self.n, b, bb)
        out = np.multiply(ab, self.n, out=ab.copy())
        out -= np.outer(a, b)
        with np.errstate(invalid="ignore"):
            out /= np.sqrt(spread_a)[:, None]
            out /= np.sqrt(spread_b)[None, :]
        return np.clip(out, -1, 1, out=out)


def correlate(a, b, rows: int = 65536) -> np.ndarray:
    """Pearson's r between all columns of `a` (tokens, n_a) and `b` (tokens, n_b), CSR or dense, float64.

    NaN where a column is constant. Raises ValueError if the numbers of rows differ.

    >>> x = np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    >>> correlate(x, x).round(3).tolist()
    [[1.0, nan], [nan, nan]]
    """
    if a.shape[0] != b.shape[0]:
        return Moments().add(a, b).pearson()  # raises the error
    moments = Moments()
    for start in range(0, max(1, a.shape[0]), rows):
        moments.add(a[start:start + rows], b[start:start + rows])
    return moments.pearson()


def _double(m):
    return m.astype(np.float64) if sparse.issparse(m) else np.asarray(m, dtype=np.float64)


def _square(m):
    return m.multiply(m) if sparse.issparse(m) else m * m


def _total(m):
    return np.asarray(m.sum(axis=0), dtype=np.float64).ravel()


def _spread(n, total, squares):
    """n S_ii - S_i^2, NaN where it is zero up to rounding (a constant column)."""
    spread = n * squares - total**2
    return np.where(spread > 1e-12 * n * squares, spread, np.nan)


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
    r = np.nan_to_num(r, nan=-1.0)
    if 0 in r.shape:
        none = np.zeros((0, 2), dtype=int)
        return Match(r, np.zeros(0, int), np.zeros(0, int), none, none)
    of_a, of_b = r.argmax(1), r.argmax(0)
    rows = np.flatnonzero(of_b[of_a] == np.arange(len(of_a)))
    assigned = np.stack(linear_sum_assignment(r, maximize=True), axis=1)
    return Match(r, of_a, of_b, np.stack([rows, of_a[rows]], axis=1), assigned)


def persistence(found: Match, taus=TAUS) -> dict[tuple[str, str], np.ndarray]:
    """Share of features with a partner at r >= tau: {(rule, side): array over taus}; NaN if a side is empty."""
    out = {}
    for rule in RULES:
        for side, n in zip(("parent", "child"), found.r.shape, strict=True):
            pairs = found.pairs(rule, side) if min(found.r.shape) else np.zeros((0, 2), int)
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


def bootstrap(a, b, found: Match, documents: np.ndarray, strata: np.ndarray, resamples: int, seed: int,
              taus=TAUS) -> dict[tuple[str, str], np.ndarray]:
    """Resampled persistence shares {(rule, side): (resamples, taus)}: documents drawn with replacement.

    a, b: activations (tokens, n) of the live features; documents (tokens,) and strata (tokens,): document and
    domain of each token, resampled within its domain. Partners stay those of the full probe; their correlation is
    computed anew from each resample's sums.
    """
    names, index = np.unique(documents, return_inverse=True)
    group = sparse.csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))))
    weights = _resample(strata[np.unique(index, return_index=True)[1]], resamples, seed)
    a, b = sparse.csc_matrix(_double(a)), sparse.csc_matrix(_double(b))
    n = weights @ np.bincount(index)
    sums = [weights @ (group @ m).toarray() for m in (a, b, a.multiply(a), b.multiply(b))]
    out = {}
    for rule in RULES:
        for side, size in zip(("parent", "child"), found.r.shape, strict=True):
            if rule != "best" and side == "child":  # same pairs as on the parent side, over another denominator
                out[rule, side] = out[rule, "parent"] * found.r.shape[0] / size
                continue
            i, j = found.pairs(rule, side).T
            cross = weights @ (group @ a[:, i].multiply(b[:, j])).toarray()
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = (n[:, None] * sums[2][:, i] - sums[0][:, i] ** 2) * (n[:, None] * sums[3][:, j]
                                                                             - sums[1][:, j] ** 2)
                r = np.sort(np.nan_to_num((n[:, None] * cross - sums[0][:, i] * sums[1][:, j]) / np.sqrt(spread),
                                          nan=-1.0), axis=1)
            out[rule, side] = np.stack([(len(i) - np.searchsorted(row, taus - ROUNDING)) / size for row in r])
    return out


def _resample(strata: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each document is drawn: (resamples, documents), as many per stratum as it has documents."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights
