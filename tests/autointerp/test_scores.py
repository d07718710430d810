"""Simulation and detection scores against dense formulas and hand values."""

import numpy as np
from scipy import sparse

from unifeat.autointerp import scores


def test_simulation_is_pearson_on_dense_columns():
    rng = np.random.default_rng(2)
    f, p = rng.random((50, 4)), rng.random((50, 4))
    expected = [np.corrcoef(f[:, j], p[:, j])[0, 1] for j in range(4)]
    assert np.allclose(scores.simulation(f, p), expected)
    assert np.isnan(scores.simulation(np.zeros((9, 1)), np.ones((9, 1))))[0]
    assert scores.simulation(np.eye(9)[:, :1], np.zeros((9, 1)))[0] == 0


def test_detection_by_hand():
    f = sparse.csr_matrix(np.array([[1.0], [0], [0], [1], [0], [0], [0], [0]]))
    p = sparse.csr_matrix(np.array([[0.0], [2], [0], [0], [1], [0], [0], [0]]))
    # windows of two: truth 1 1 0 0, said 1 0 1 0 -> hit rate 1/2, correct rejections 1/2
    assert scores.detection(f, p, np.arange(8) // 2).tolist() == [0.5]
    assert scores.detection(f, f, np.arange(8) // 2).tolist() == [1.0]
    assert np.isnan(scores.detection(sparse.csr_matrix(np.ones((8, 1))), p, np.arange(8) // 2))[0]
