"""The fast kernels of this room as their formulas, for reading: only tests import them, and hold the two equal."""

from itertools import permutations

import numpy as np
from scipy import sparse


def correlate(a, b) -> np.ndarray:
    """Pearson's r between the columns of a (tokens, n_a) and b (tokens, n_b), float64; twin of `correlation.correlate`.

        r_ij = sum_t (a_ti - mean a_i) (b_tj - mean b_j) / sqrt(sum_t (a_ti - mean a_i)^2 sum_t (b_tj - mean b_j)^2)

    NaN where a column is constant, as in np.corrcoef.
    """
    a, b = (np.asarray(m.toarray() if sparse.issparse(m) else m, np.float64) for m in (a, b))
    a, b = (np.where(np.ptp(m, axis=0) > 0, m - m.mean(0), np.nan) for m in (a, b))
    return a.T @ b / np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))


def one_to_one(r: np.ndarray) -> float:
    """The greatest sum of r that one partner for each feature of the smaller side gives; twin of `Match.assigned`.

    By trying all of them; the Hungarian algorithm (Kuhn 1955) finds it in cubic time.
    """
    r = r if r.shape[0] <= r.shape[1] else r.T
    return max(r[range(len(r)), columns].sum() for columns in permutations(range(r.shape[1]), len(r)))


def resampled(a, b, documents: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """`correlate` on text in which every document stands as often as it was drawn; twin of `bootstrap.resampled_r`.

    documents (tokens,): number of each token's document; draws (documents,). The bootstrap of Efron 1979, by documents.
    """
    at = np.repeat(np.arange(len(documents)), draws[documents])
    return correlate(a[at], b[at])
