"""Scores of explanations: simulation and detection, on documents they were not learned from."""

import numpy as np
from scipy import sparse

from unifeat.autointerp.rules import one_hot, sums


def simulation(f, p) -> np.ndarray:
    """Pearson's r of each column of true activations f (tokens, features) with its simulation p, zeros kept.

    NaN where the feature does not fire; 0 where it does and the simulation is constant: such an explanation says
    nothing. The score of Bills et al. 2023, "Language models can explain neurons in language models".
    """
    f, p = (sparse.csc_matrix(m, dtype=np.float64) for m in (f, p))
    n, sf, sp = f.shape[0], sums(f), sums(p)
    vf, vp = n * sums(f.multiply(f)) - sf**2, n * sums(p.multiply(p)) - sp**2
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (n * sums(f.multiply(p)) - sf * sp) / np.sqrt(vf * vp)
    return np.where(vf <= 1e-9, np.nan, np.where(vp <= 1e-9, 0.0, np.clip(r, -1, 1)))


def detection(f, p, window: np.ndarray) -> np.ndarray:
    """Balanced accuracy of "does the feature fire in this window?", answered by "does the rule?", per feature.

    window (tokens,): number of the window each token is in. NaN where a feature fires in all windows or in none.
    Detection after Paulo et al. 2024 (arXiv 2410.13928), on every held-out window instead of a sample.
    """
    pool = one_hot(np.unique(window, return_inverse=True)[1]).T
    true, said = (sparse.csc_matrix(pool @ (m > 0).astype(np.float64)).astype(bool).astype(np.float64) for m in (f, p))
    hit, yes, answered, n = sums(true.multiply(said)), sums(true), sums(said), pool.shape[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        score = 0.5 * hit / yes + 0.5 * ((n - yes) - (answered - hit)) / (n - yes)
    return np.where((yes > 0) & (yes < n), score, np.nan)
