"""Which variants differ: all pairs of them, over documents and SAE seeds, corrected for their number.

An estimate's spread has two parts. Documents: the variance of the difference between resamples. SAE seeds: the
jackknife, pooled over variants whose SAEs are of their own, or of the difference itself where the SAEs are the same.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.05  # chance of one false difference or more in a table
FEWEST = 3  # seeds: with two, leaving one out leaves no pair
SMALLEST = 1e-12  # p-values are told down to this


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with resamples over documents (resamples,), and what it is without one SAE seed at a time (seeds,)."""

    value: float
    resampled: np.ndarray
    left_out: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether there is a number everywhere."""
        return all(np.isfinite(part).all() for part in (self.value, self.resampled, self.left_out))


def pseudo_values(value: float, left_out: np.ndarray) -> np.ndarray:
    """What each of n seeds says of the value (Tukey 1958; Efron & Tibshirani 1993, section 11.5):

        n value - (n - 1) left_out_i.

    Their variance over n is the jackknife's squared standard error. Of a mean they are the values themselves; of a
    mean over pairs of seeds, as our shares are, their variance is too large rather than too small (Efron & Stein 1981).

    >>> pseudo_values(2.0, np.array([2.5, 2.0, 1.5])).tolist()
    [1.0, 2.0, 3.0]
    """
    n = len(left_out)
    return n * value - (n - 1) * np.asarray(left_out, float)


def seed_errors(estimates: list[Estimate], pairs: list[tuple[int, int]], same_seeds: bool) -> tuple[np.ndarray, int]:
    """Standard errors (pairs,) of the differences over SAE seeds, and their degrees of freedom.

    same_seeds: both of a pair are of the same SAEs, so that a seed's pseudo-values are subtracted first, as in the
    paired t-test; n - 1 degrees of freedom. Else all variants' pseudo-values share one variance (Student's pooled one),

        s^2 = sum_v sum_i (p_vi - mean_v)^2 / nu,  nu = sum_v (n_v - 1),  error^2 = s^2 (1 / n_v + 1 / n_w).
    """
    values = [pseudo_values(one.value, one.left_out) for one in estimates]
    sizes = np.array([len(one) for one in values])
    if same_seeds:
        return np.array([np.std(values[a] - values[b], ddof=1) / np.sqrt(sizes[a]) for a, b in pairs]), sizes[0] - 1
    freedom = int((sizes - 1).sum())
    variance = sum(((one - one.mean()) ** 2).sum() for one in values) / freedom
    a, b = np.array(pairs).T
    return np.sqrt(variance * (1 / sizes[a] + 1 / sizes[b])), freedom


def document_errors(estimates: list[Estimate], pairs: list[tuple[int, int]], same_documents: bool) -> np.ndarray:
    """Standard errors (pairs,) of the differences over documents, from the resamples (bootstrap: Efron 1979).

    same_documents: resample i of all estimates draws the same documents, so that what they share cancels.
    """
    if same_documents:
        return np.array([np.std(estimates[a].resampled - estimates[b].resampled, ddof=1) for a, b in pairs])
    spread = np.array([np.std(one.resampled, ddof=1) for one in estimates])
    return np.array([np.hypot(spread[a], spread[b]) for a, b in pairs])


def half_width(alpha, documents, seeds, freedom: int) -> np.ndarray:
    """Half of the interval that misses the true difference with chance alpha: both parts, square and square,

        sqrt((z documents)^2 + (t seeds)^2),

    z and t the normal's and Student's quantiles at 1 - alpha / 2 (Zou & Donner 2008, as `bootstrap.over_seeds`).

    >>> half_width(0.05, 1.0, 0.0, 2).round(2).item(), half_width(0.05, 0.0, 1.0, 2).round(2).item()
    (1.96, 4.3)
    """
    return np.hypot(special.ndtri(alpha / 2) * documents, special.stdtrit(freedom, np.asarray(alpha) / 2) * seeds)


def p_values(difference, documents, seeds, freedom: int) -> np.ndarray:
    """The alpha at which `half_width` just reaches the difference, by bisection of its logarithm."""
    size = np.abs(np.asarray(difference, float))
    low, high = np.full(size.shape, np.log(SMALLEST)), np.zeros(size.shape)
    for _ in range(60):
        middle = (low + high) / 2
        wide = half_width(np.exp(middle), documents, seeds, freedom) > size
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return np.where(size > 0, np.exp((low + high) / 2), 1.0)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number by Holm's step-down Bonferroni (1979, Scand. J. Statist. 6, 65-70).

    The i-th smallest of m times m - i + 1, and at least what the smaller ones have. Rejecting what is at most 5 % makes
    one false rejection or more in at most 5 % of families, however the tests depend on each other.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    p = np.asarray(p, float)
    order = np.argsort(p)
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return out


def between(estimates: list[Estimate], pairs: list[tuple[int, int]] | None = None, same_seeds: bool = False,
            same_documents: bool = True) -> pd.DataFrame:
    """One row per pair (all): a, b, difference (b - a), low and high, p, strength, comparisons.

    low, high: ends of the interval at 1 - LEVEL / comparisons (Bonferroni), so that all of them cover at 1 - LEVEL; p:
    corrected after Holm, whose first step is that same interval; strength: the difference in halves of its interval, so
    that it holds 0 below 1. All NaN where an estimate is, or where a variant has fewer than FEWEST seeds.
    """
    pairs = list(combinations(range(len(estimates)), 2)) if pairs is None else pairs
    a, b = np.array(pairs, int).reshape(-1, 2).T
    value = np.array([one.value for one in estimates])
    found = pd.DataFrame(dict(a=a, b=b, difference=value[b] - value[a], low=np.nan, high=np.nan, p=np.nan,
                              strength=np.nan, comparisons=len(pairs)))
    if not pairs or min(len(one.left_out) for one in estimates) < FEWEST or not all(one.finite for one in estimates):
        return found
    seeds, freedom = seed_errors(estimates, pairs, same_seeds)
    documents, difference = document_errors(estimates, pairs, same_documents), found["difference"].to_numpy()
    half = half_width(LEVEL / len(pairs), documents, seeds, freedom)
    strength = np.divide(np.abs(difference), half, out=np.where(difference == 0, 0.0, np.inf), where=half > 0)
    return found.assign(low=difference - half, high=difference + half, strength=strength,
                        p=holm(p_values(difference, documents, seeds, freedom)))


COLUMNS = ["versus", "difference", "difference_low", "difference_high", "p", "comparisons"]


def strongest(names: list, found: pd.DataFrame) -> pd.DataFrame:
    """Of every variant the pair in which it differs most for its uncertainty: COLUMNS, one row per variant.

    names: of the variants that the pairs `found` by `between` number; versus: the other's name; difference: this one's
    value minus the other's. NaN for a variant without a pair.
    """
    rows = []
    for number in range(len(names)):
        own = found[(found["a"] == number) | (found["b"] == number)]
        if not len(own):
            rows.append(dict.fromkeys(COLUMNS, np.nan))
            continue
        rank = own["strength"] if own["strength"].notna().all() else own["difference"].abs()
        one = own.loc[rank.idxmax()]
        if turned := number == one["a"]:  # from b - a to this one's minus the other's
            one = one.mul([1, 1, -1, -1, -1, 1, 1, 1]).rename(dict(low="high", high="low"))
        rows.append(dict(zip(COLUMNS, (names[int(one["b" if turned else "a"])], one["difference"], one["low"],
                                       one["high"], one["p"], one["comparisons"]), strict=True)))
    return pd.DataFrame(rows, columns=COLUMNS)
