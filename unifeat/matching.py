"""Matching features across SAEs by the correlation of their activations, and what the matches are worth."""

import os
from concurrent.futures import ThreadPoolExecutor
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

    NaN where a column is constant. Two CSR matrices cost the multiply-adds of pairs that fire together, sum over
    tokens of L0_a L0_b; dense ones are added up `rows` at a time. Raises ValueError if the numbers of rows differ.

    >>> x = np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    >>> correlate(x, x).round(3).tolist()
    [[1.0, nan], [nan, nan]]
    """
    if a.shape[0] != b.shape[0]:
        return Moments().add(a, b).pearson()  # raises the error
    if sparse.issparse(a) and sparse.issparse(b):
        return _correlate_sparse(a, b)
    moments = Moments()
    for start in range(0, max(1, a.shape[0]), rows):
        moments.add(a[start:start + rows], b[start:start + rows])
    return moments.pearson()


def _correlate_sparse(a, b) -> np.ndarray:
    """`correlate` of two sparse matrices, one feature of `a` at a time: its row of the result stays in the cache.

    (A sparse product of the whole would be several times slower: its result is nearly full.)
    """
    n, a, b = a.shape[0], sparse.csc_matrix(a, dtype=np.float64), sparse.csr_matrix(b, dtype=np.float64)
    sums_a, sums_b = _total(a), _total(b)
    root_a, root_b = (np.sqrt(_spread(n, total, _total(_square(m)))) for total, m in ((sums_a, a), (sums_b, b)))
    out = np.empty((a.shape[1], b.shape[1]))

    def fill(first):
        for i in range(first, min(first + 64, len(out))):
            fires = slice(a.indptr[i], a.indptr[i + 1])
            r = np.multiply(a.data[fires] @ b[a.indices[fires]], n, out=out[i])
            r -= sums_a[i] * sums_b
            r /= root_a[i]
            r /= root_b
            np.clip(r, -1, 1, out=r)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # scipy's products run outside Python's lock
        for _ in pool.map(fill, range(0, len(out), 64)):
            pass
    return out


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
    out, taus = {}, np.asarray(taus, float)
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
    """Persistence shares spread as far as they may lie from the truth: {(rule, side): (resamples, taus)}.

    a, b: activations (tokens, n) of the live features, CSR or dense; documents (tokens,) and strata (tokens,):
    document and domain of each token. Documents are drawn with replacement within their domain, partners stay those
    of the full probe, and the shares of the resamples are then widened (see `calibrated`); their percentiles are the
    interval. The truth that it covers is the share of these features whose r over unlimited text is at least tau.
    """
    out = {}
    for (rule, side), (r, pairs) in resampled_r(a, b, found, documents, strata, resamples, seed).items():
        out[rule, side] = calibrated(found.r[pairs[:, 0], pairs[:, 1]], r, found.r.shape[side == "child"], taus)
        if rule != "best":  # the same pairs over the other side's number of features
            n_a, n_b = found.r.shape
            out[rule, "child"] = out[rule, "parent"] * n_a / n_b if n_a and n_b else out[rule, side]
    return out


def calibrated(r: np.ndarray, resampled: np.ndarray, size: int, taus=TAUS) -> np.ndarray:
    """Shares r >= tau of `size` features, (resamples, taus): resampled shares recentred on the observed and widened.

    r (pairs,): observed correlations; resampled (resamples, pairs): theirs on each resample. Counting r >= tau blurs
    every feature's side of the threshold, so that the plain percentile interval misses the truth in two ways: it
    repeats the blur's bias instead of undoing it, and it cannot know on which side the features near tau truly are.
    With theta the observed share, theta* a resample's, and s_i the probability that pair i changes side in it,

        E (theta - truth)^2  ~  E* (theta* - theta)^2 + sum_i s_i^2 / size^2

    The first term is the variance over documents and the squared bias; the second is what is left of the chance of
    having pair i on the wrong side, s_i, over its variance s_i (1 - s_i). The derivation is ours; that the interval
    covers the truth at its nominal rate, and that the percentile interval does not, is tested on planted features.
    """
    taus = np.asarray(taus, float) - ROUNDING
    if not size:
        return np.full((len(resampled), len(taus)), np.nan)
    above = np.stack([(resampled >= tau).mean(0) for tau in taus]) if len(r) else np.zeros((len(taus), 0))
    side = r >= taus[:, None]
    ordered = np.sort(resampled, axis=1)
    shares = np.stack([(len(r) - np.searchsorted(row, taus)) / size for row in ordered])
    observed = side.sum(1) / size
    deviation = shares - shares.mean(0)
    wanted = ((shares - observed) ** 2).mean(0) + ((above - side) ** 2).sum(1) / size**2
    variance = (deviation**2).mean(0)
    factor = np.sqrt(np.divide(wanted, variance, out=np.ones(len(taus)), where=variance > 0))
    return observed + deviation * factor


def interval(shares: np.ndarray, observed=None, level: float = 0.95, bounds=(0, 1)) -> np.ndarray:
    """Ends (2, ...) of the percentile interval of spread shares (resamples, ...), kept within `bounds`.

    Percentiles of few features jump; the ends are drawn apart where they would leave `observed` outside.

    >>> interval(np.linspace(-0.2, 0.8, 101), 0.9).round(3).tolist()
    [0.0, 0.9]
    """
    if np.isnan(shares).all():
        return np.full((2, *shares.shape[1:]), np.nan)
    ends = np.clip(np.nanpercentile(shares, [50 * (1 - level), 50 * (1 + level)], axis=0), *bounds)
    return ends if observed is None else np.stack([np.fmin(ends[0], observed), np.fmax(ends[1], observed)])


def resampled_r(a, b, found: Match, documents: np.ndarray, strata: np.ndarray, resamples: int, seed: int) -> dict:
    """Correlations of the matched pairs on resampled documents: {(rule, side): (r (resamples, pairs), pairs)}.

    The keys are (best, parent), (best, child), (mutual, parent) and (one_to_one, parent): the latter two have the
    same pairs on both sides. Where a resample leaves a feature constant, r is -1.
    """
    names, index = np.unique(documents, return_inverse=True)
    group = sparse.csr_matrix((np.ones(len(index)), (np.arange(len(index)), index)))
    weights = _resample(strata[np.unique(index, return_index=True)[1]], resamples, seed)
    a, b = (sparse.csc_matrix(m) if sparse.issparse(m) else np.asarray(m) for m in (a, b))
    n = (weights @ np.bincount(index))[:, None]
    total = [[weights @ _by_document(group, m, power=power) for power in (1, 2)] for m in (a, b)]
    wanted = {key: found.pairs(*key) if min(found.r.shape) else np.zeros((0, 2), int)
              for key in (("best", "parent"), ("best", "child"), ("mutual", "parent"), ("one_to_one", "parent"))}
    every, place = np.unique(np.concatenate(list(wanted.values())), axis=0, return_inverse=True)  # the rules overlap
    i, j = every.T
    cross = weights @ _by_document(group, a, i, b, j)
    (sum_a, square_a), (sum_b, square_b) = ([part[:, at] for part in of] for of, at in zip(total, (i, j), strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (n * square_a - sum_a**2) * (n * square_b - sum_b**2)
        r = np.nan_to_num((n * cross - sum_a * sum_b) / np.sqrt(spread), nan=-1.0, posinf=-1.0, neginf=-1.0)
    ends = np.cumsum([len(pairs) for pairs in wanted.values()])[:-1]
    return {key: (r[:, at], pairs) for (key, pairs), at in zip(wanted.items(), np.split(place.ravel(), ends),
                                                               strict=True)}


def _by_document(group, a, i=None, b=None, j=None, power: int = 1, columns: int = 256) -> np.ndarray:
    """Sums per document of the columns a_i to a `power`, or of the products a_i b_j: (documents, columns), float64.

    group: (tokens, documents), one where a token is the document's; a and b: CSC or dense; i None: every column.
    """
    sums, i = [np.zeros((0, group.shape[1]))], np.arange(a.shape[1]) if i is None else i
    for start in range(0, len(i), columns):  # in slices, so that a dense side is never held twice in float64
        # a CSC matrix on its side is CSR, whose rows are picked, multiplied and summed without conversion
        x = _double(a.T[i[start:start + columns]])
        if b is not None:
            y = _double(b.T[j[start:start + columns]])
            x = x.multiply(y) if sparse.issparse(x) else x * y
        part = (_square(x) if power == 2 else x) @ group
        sums.append(part.toarray() if sparse.issparse(part) else part)
    return np.concatenate(sums).T


def compare(a, b, documents: np.ndarray, strata: np.ndarray, resamples: int, seed: int, with_null: bool = True,
            ) -> dict[str, np.ndarray]:
    """All that is kept of one comparison of the live features a (tokens, n_a) with b (tokens, n_b).

    best_of_a, best_of_b, r_of_a, r_of_b: best partner and its r; assigned, r_assigned: the one-to-one pairs; null_*:
    the same with b's tokens permuted; "observed.rule.side", "null.rule.side" (taus,) and "resampled.rule.side"
    (resamples, taus).
    """
    found = match(correlate(a, b))
    out = dict(best_of_a=found.partner_of_a, best_of_b=found.partner_of_b, r_of_a=found.r.max(1, initial=-1),
               r_of_b=found.r.max(0, initial=-1), assigned=found.assigned, r_assigned=found.r[tuple(found.assigned.T)])
    tables = dict(observed=persistence(found),
                  resampled=bootstrap(a, b, found, documents, strata, resamples, seed))
    if with_null:
        null = match(correlate(a, permute(b, seed)))
        out |= dict(null_of_a=null.r.max(1, initial=-1), null_of_b=null.r.max(0, initial=-1),
                    null_assigned=null.r[tuple(null.assigned.T)])
        tables["null"] = persistence(null)
    return out | {f"{label}.{rule}.{side}": value for label, shares in tables.items()
                  for (rule, side), value in shares.items()}


def _resample(strata: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each document is drawn: (resamples, documents), as many per stratum as it has documents."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights
