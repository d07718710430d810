"""Pearson's r between all features of two SAEs, over the tokens of one text."""

import warnings

import numpy as np
import torch
from scipy import sparse

from unifeat.support.parallel import spread

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")  # its product is tested against scipy's

BLOCK = 64  # features whose correlations are finished together, while they are still in the cache
ROWS = 2048  # features per call of MKL, which holds their products twice
SUMMED = 5  # products per sum and batch: with fewer, going over all sums again costs more than a cached batch saves
DENSE = 65536  # rows of dense matrices added up at a time


class Moments:
    """Sufficient statistics of Pearson's r between the columns of two matrices, added up batch by batch.

        r_ij = (n S_ij - S_i S_j) / sqrt((n S_ii - S_i^2) (n S_jj - S_j^2))

    all sums over tokens, zeros included, in float64.
    """

    def __init__(self):
        self.n, self.sums = 0, None

    def add(self, a, b) -> "Moments":
        """Add a batch of rows: `a` (tokens, n_a) and `b` (tokens, n_b), sparse or dense."""
        if a.shape[0] != b.shape[0]:
            raise ValueError(f"The two activation matrices have {a.shape[0]} and {b.shape[0]} rows; both must cover "
                             "the same tokens.")
        a, b = (_double(m) for m in (a, b))
        if self.sums is None:
            self.sums = [np.zeros(size) for size in (*[a.shape[1], b.shape[1]] * 2, (a.shape[1], b.shape[1]))]
        for into, new in zip(self.sums, (_total(a), _total(b), _total(_square(a)), _total(_square(b))), strict=False):
            into += new
        _add_product(self.sums[-1], a, b)
        self.n += a.shape[0]
        return self

    def pearson(self) -> np.ndarray:
        """Correlations (n_a, n_b), NaN where a side is constant; written over the sums, which begin anew."""
        n, (a, b, aa, bb, ab) = self.n, self.sums
        self.n, self.sums = 0, None
        root_a, root_b = np.sqrt(_spread(n, a, aa)), np.sqrt(_spread(n, b, bb))
        for start in range(0, len(ab), BLOCK):
            block = slice(start, start + BLOCK)
            r = ab[block]
            r *= n
            r -= np.outer(a[block], b)
            r /= root_a[block, None]
            r /= root_b
            np.clip(r, -1, 1, out=r)
        return ab


def correlate(a, b, rows: int | None = None) -> np.ndarray:
    """Pearson's r between all columns of `a` (tokens, n_a) and `b` (tokens, n_b), sparse or dense, float64.

    NaN where a column is constant. Two sparse matrices cost the multiply-adds of pairs that fire together, sum over
    tokens of L0_a L0_b. rows: so many tokens are added up at a time (None: as many as are fast). Raises ValueError if
    the numbers of rows differ.

    >>> x = np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    >>> correlate(x, x).round(3).tolist()
    [[1.0, nan], [nan, nan]]
    """
    rows, moments = rows or _batch(a, b), Moments()
    if a.shape[0] <= rows or a.shape[0] != b.shape[0]:  # whole: a slice of a sparse matrix is a copy
        moments.add(a, b)
    else:
        a, b = (m.tocsr() if sparse.issparse(m) else m for m in (a, b))
        for start in range(0, a.shape[0], rows):
            moments.add(a[start:start + rows], b[start:start + rows])
    return moments.pearson()


def _batch(a, b) -> int:
    """Rows of two sparse matrices that fit the cache and yet add SUMMED products to each of the sums, on average."""
    if not (sparse.issparse(a) and sparse.issparse(b)):
        return DENSE
    products = a.nnz * b.nnz / max(1, a.shape[0])
    return max(1, round(SUMMED * a.shape[0] * a.shape[1] * b.shape[1] / products)) if products else a.shape[0]


def _add_product(out: np.ndarray, a, b) -> None:
    """Add a^T b to `out`, all in float64.

    Of two sparse matrices it is made dense: nearly every two features meet somewhere. MKL, where torch has it, takes
    three quarters of scipy's time.
    """
    if not (sparse.issparse(a) and sparse.issparse(b)):
        out += a.T @ b
        return
    a = sparse.csr_matrix(a.T)
    if torch.backends.mkl.is_available() and a.nnz and b.nnz and a.indices.dtype == b.indices.dtype == np.int32:
        right = _tensor(b)
        for start in range(0, len(out), ROWS):
            part = torch.from_numpy(out[start:start + ROWS])
            torch.addmm(part, _tensor(a[start:start + ROWS]), right, out=part)
        return

    def fill(start):
        out[start:start + BLOCK] += (a[start:start + BLOCK] @ b).toarray()

    for _ in spread(fill, range(0, len(out), BLOCK), most=torch.get_num_threads()):
        pass


def _tensor(m) -> torch.Tensor:
    """A CSR matrix as a tensor that shares its memory."""
    return torch.sparse_csr_tensor(*map(torch.from_numpy, (m.indptr, m.indices, m.data)), m.shape,
                                   check_invariants=False)


def _double(m):
    return sparse.csr_matrix(m, dtype=np.float64) if sparse.issparse(m) else np.asarray(m, dtype=np.float64)


def _square(m):
    return m.power(2) if sparse.issparse(m) else m * m


def _total(m):
    return np.asarray(m.sum(axis=0), dtype=np.float64).ravel()


def _spread(n, total, squares):
    """n S_ii - S_i^2, NaN where it is zero up to rounding (a constant column)."""
    spread = n * squares - total**2
    return np.where(spread > 1e-12 * n * squares, spread, np.nan)
