"""Token features: those whose activation is a function of the current token alone."""

import numpy as np
from scipy import sparse

COLUMNS = 512  # features whose means over all tokens are held at once


def halves(document: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """Which rows (bool) belong to the learning half: every other document of each domain.

    >>> halves(np.array([0, 0, 1, 2, 3]), np.array([0, 0, 0, 1, 1])).tolist()
    [True, True, False, True, False]
    """
    out = np.zeros(len(document), dtype=bool)
    for one in np.unique(domain):
        rows = domain == one
        _, number = np.unique(document[rows], return_inverse=True)
        out[rows] = number % 2 == 0
    return out


def token_r(f, tokens: np.ndarray, learning: np.ndarray) -> np.ndarray:
    """Pearson's r between each feature and its mean given the current token, (features,); NaN where one is constant.

        m_v = mean of f over the learning rows whose token is v,   r = corr(f_t, m_{token_t}) over the other rows

    f (rows, features), CSR or dense; tokens (rows,); learning (rows,): see `halves`. A token that no learning row has
    gets the feature's mean over all of them. A feature with r >= tau is called a token feature: look-up alone makes it,
    and models of other weights share it.
    """
    _, token = np.unique(tokens, return_inverse=True)
    f, out = sparse.csr_matrix(f), []
    sums = [sparse.csr_matrix((np.ones(rows.sum()), (token[rows], np.flatnonzero(rows))), (token.max(initial=-1) + 1,
                                                                                       len(rows)))
            for rows in (learning, ~learning)]  # (tokens, rows): times f, sums per token
    seen, held = (np.asarray(one.sum(1)) for one in sums)
    n = held.sum()
    for start in range(0, f.shape[1], COLUMNS):
        part = f[:, start:start + COLUMNS].astype(np.float64)
        learned, total = ((one @ part).toarray() for one in sums)
        mean = np.where(seen > 0, learned / np.maximum(seen, 1), learned.sum(0) / max(1, seen.sum()))
        square = np.asarray(part[~learning].power(2).sum(0)).ravel()
        covariance = n * (total * mean).sum(0) - total.sum(0) * (held * mean).sum(0)
        spreads = [n * square - total.sum(0) ** 2, n * (held * mean**2).sum(0) - (held * mean).sum(0) ** 2]
        spreads = [np.where(one > 1e-9 * n * scale, one, np.nan)  # what rounding leaves of a constant
                   for one, scale in zip(spreads, (square, (held * mean**2).sum(0)), strict=True)]
        out.append(covariance / np.sqrt(spreads[0] * spreads[1]))
    return np.concatenate(out) if out else np.zeros(0)
