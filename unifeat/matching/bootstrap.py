"""How sure the shares of a matching are: bootstrap over documents, calibrated, and the ends of an interval."""

import numpy as np
from scipy import sparse, stats

from unifeat.matching.match import ROUNDING, RULES, SIDES, TAUS, Match


def bootstrap(a, b, found: Match, documents: np.ndarray, strata: np.ndarray, resamples: int, seed: int,
              taus=TAUS) -> dict[tuple[str, str], np.ndarray]:
    """Persistence shares spread as far as they may lie from the truth: {(rule, side): (resamples, taus)}.

    a, b: activations (tokens, n) of the live features, CSR or dense; documents (tokens,) and strata (tokens,):
    document and domain of each token. Documents are drawn with replacement within their domain, partners stay those
    of the full text, and the shares of the resamples are then widened (see `calibrated`); their percentiles are the
    interval. The truth that it covers is the share of these features whose r over unlimited text is at least tau.
    """
    return spread(found, resampled_r(a, b, found, documents, strata, resamples, seed), taus)


def spread(found: Match, resampled: dict, taus=TAUS, of=(None, None)) -> dict[tuple[str, str], np.ndarray]:
    """The shares of `bootstrap` from what `resampled_r` gives; of: masks of the features counted on each side."""
    out = {}
    for rule in RULES:
        for axis, side in enumerate(SIDES):
            r, pairs = resampled[rule, side if rule == "best" else "parent"]
            mask, size = of[axis], found.r.shape[axis]
            if mask is not None:
                kept, size = mask[pairs[:, axis]], int(mask.sum())
                r, pairs = r[:, kept], pairs[kept]
            out[rule, side] = calibrated(found.r[pairs[:, 0], pairs[:, 1]], r, size, taus)
    return out


def calibrated(r: np.ndarray, resampled: np.ndarray, size: int, taus=TAUS) -> np.ndarray:
    """Shares r >= tau of `size` features, (resamples, taus): resampled shares recentred on the observed and widened.

    r (pairs,): observed correlations; resampled (resamples, pairs): theirs on each resample; taus: ascending. Counting
    r >= tau blurs every feature's side of the threshold, so that the plain percentile interval misses the truth in two
    ways: it repeats the blur's bias instead of undoing it, and it cannot know on which side the features near tau
    truly are.
    With theta the observed share, theta* a resample's, and s_i the probability that pair i changes side in it,

        E (theta - truth)^2  ~  E* (theta* - theta)^2 + sum_i s_i^2 / size^2

    The first term is the variance over documents and the squared bias; the second is what is left of the chance of
    having pair i on the wrong side, s_i, over its variance s_i (1 - s_i). The derivation is ours; that the interval
    covers the truth at its nominal rate, and that the percentile interval does not, is tested on planted features.
    """
    taus = np.asarray(taus, float) - ROUNDING
    if not size:
        return np.full((len(resampled), len(taus)), np.nan)
    passed = np.searchsorted(taus, resampled, side="right")  # how many thresholds each r reaches
    above = np.ascontiguousarray(_counts(passed.T, len(taus)).T) / len(resampled)
    shares = _counts(passed, len(taus)) / size
    side = r >= taus[:, None]
    observed = side.sum(1) / size
    deviation = shares - shares.mean(0)
    wanted = ((shares - observed) ** 2).mean(0) + ((above - side) ** 2).sum(1) / size**2
    variance = (deviation**2).mean(0)
    factor = np.sqrt(np.divide(wanted, variance, out=np.ones(len(taus)), where=variance > 0))
    return observed + deviation * factor


def _counts(passed: np.ndarray, taus: int) -> np.ndarray:
    """How many of each row reach threshold 0, 1, ...: (rows, taus); passed: the number that each reaches, of `taus`."""
    rows = len(passed)
    at = np.arange(rows)[:, None] * (taus + 1) + passed
    found = np.bincount(at.ravel(), minlength=rows * (taus + 1)).reshape(rows, taus + 1)
    return found[:, :0:-1].cumsum(1)[:, ::-1]


def interval(shares: np.ndarray, observed=None, level: float = 0.95, bounds=(0, 1)) -> np.ndarray:
    """Ends (2, ...) of the percentile interval of spread shares (resamples, ...), kept within `bounds`.

    Percentiles of few features jump; the ends are drawn apart where they would leave `observed` outside.

    >>> interval(np.linspace(-0.2, 0.8, 101), 0.9).round(3).tolist()
    [0.0, 0.9]
    """
    none = np.isnan(shares).all(0)
    ends = np.nanpercentile(np.where(none, 0.0, shares), [50 * (1 - level), 50 * (1 + level)], axis=0)
    ends = np.where(none, np.nan, np.clip(ends, *bounds))
    return ends if observed is None else np.stack([np.fmin(ends[0], observed), np.fmax(ends[1], observed)])


def over_seeds(ends: np.ndarray, observed, left_out: np.ndarray, bounds=(0, 1), level: float = 0.95) -> np.ndarray:
    """Ends (2, ...) of an interval over documents, widened by what other seeds of the SAEs would change.

    left_out (seeds, ...): the estimate without one seed at a time. Their jackknife standard error (Tukey 1958),

        s^2 = (n - 1) / n  sum_i (left_out_i - mean)^2,

    times Student's t of n - 1 degrees of freedom is added to each half of the interval, square and square (Zou & Donner
    2008, "recovery of variance estimates"). For two seeds or fewer nothing is known of their spread, and nothing added.

    >>> over_seeds(np.array([0.4, 0.6]), 0.5, np.array([0.5, 0.5, 0.5])).tolist()
    [0.4, 0.6]
    """
    n = len(left_out)
    if n < 3:
        return ends
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0)) * stats.t.ppf((1 + level) / 2, n - 1)
    low, high = observed - np.hypot(observed - ends[0], error), observed + np.hypot(ends[1] - observed, error)
    return np.clip(np.stack([low, high]), *bounds)


def resampled_r(a, b, found: Match, documents: np.ndarray, strata: np.ndarray, resamples: int, seed: int) -> dict:
    """Correlations of the matched pairs on resampled documents: {(rule, side): (r (resamples, pairs), pairs)}.

    The keys are (best, parent), (best, child), (mutual, parent) and (one_to_one, parent): the latter two have the
    same pairs on both sides. Where a resample leaves a feature constant, r is -1.
    """
    _, first, index = np.unique(documents, return_index=True, return_inverse=True)
    weights = _resample(strata[first], resamples, seed)
    a, b = (sparse.csc_matrix(m) if sparse.issparse(m) else np.asarray(m) for m in (a, b))
    n = (weights @ np.bincount(index))[:, None]
    total = [[weights @ _by_document(index, m, power=power) for power in (1, 2)] for m in (a, b)]
    wanted = {key: found.pairs(*key)
              for key in (("best", "parent"), ("best", "child"), ("mutual", "parent"), ("one_to_one", "parent"))}
    pairs, place = np.unique(np.concatenate(list(wanted.values())), axis=0, return_inverse=True)  # the rules overlap
    i, j = pairs.T
    cross = weights @ _by_document(index, a, i, b, j)
    (sum_a, square_a), (sum_b, square_b) = ([part[:, at] for part in of] for of, at in zip(total, (i, j), strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (n * square_a - sum_a**2) * (n * square_b - sum_b**2)
        r = np.nan_to_num((n * cross - sum_a * sum_b) / np.sqrt(spread), nan=-1.0, posinf=-1.0, neginf=-1.0)
    ends = np.cumsum([len(pairs) for pairs in wanted.values()])[:-1]
    return {key: (r[:, at], pairs) for (key, pairs), at in zip(wanted.items(), np.split(place.ravel(), ends),
                                                               strict=True)}


def _by_document(index: np.ndarray, a, i=None, b=None, j=None, power: int = 1, columns: int = 256) -> np.ndarray:
    """Sums per document of the columns a_i to a `power`, or of the products a_i b_j: (documents, columns), float64.

    index (tokens,): the place of each token's document; a and b: CSC or dense; i None: every column.
    """
    documents = index.max(initial=-1) + 1
    sums, i = [np.zeros((0, documents))], np.arange(a.shape[1]) if i is None else i
    for start in range(0, len(i), columns):  # in slices, so that a dense side is never held twice in float64
        # a CSC matrix on its side is CSR, whose rows are picked and multiplied without conversion
        x = a.T[i[start:start + columns]].astype(np.float64, copy=False)
        if b is not None:
            y = b.T[j[start:start + columns]].astype(np.float64, copy=False)
            x = x.multiply(y) if sparse.issparse(x) else x * y
        elif power == 2:
            x = x.power(2) if sparse.issparse(x) else x * x
        sums.append(_summed(x, index, documents))
    return np.concatenate(sums).T


def _summed(x, index: np.ndarray, documents: int) -> np.ndarray:
    """Rows of x (rows, tokens), CSR or dense, summed over the tokens of each document: (rows, documents)."""
    if sparse.issparse(x):  # entries at one place of a CSR matrix are summed when it is filled in
        return sparse.csr_matrix((x.data, index[x.indices], x.indptr), (x.shape[0], documents)).toarray()
    return x @ sparse.csr_matrix((np.ones(len(index)), index, np.arange(len(index) + 1)), (len(index), documents))


def _resample(strata: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each document is drawn: (resamples, documents), as many per stratum as it has documents."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights
