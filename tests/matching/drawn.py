"""Activations that the tests of this room share."""

import numpy as np
from scipy import sparse


def activations(tokens=400, n=12, density=0.2, seed=0) -> sparse.csr_matrix:
    """Independent features (tokens, n) that fire on a share of all tokens."""
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(np.where(rng.random((tokens, n)) < density, rng.exponential(size=(tokens, n)), 0))
