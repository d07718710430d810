"""The nulls that the studies share."""

import numpy as np
import torch

from unifeat.studies import baselines


def test_rotation_keeps_lengths_and_mean_and_moves_axes():
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(2)) + 3
    y = baselines.rotate(x, 0)
    np.testing.assert_allclose(y.mean(0), x.mean(0), atol=1e-5)
    np.testing.assert_allclose((y - y.mean(0)).norm(dim=1), (x - x.mean(0)).norm(dim=1), rtol=1e-4)
    assert torch.equal(y, baselines.rotate(x, 0)) and not torch.allclose(y, baselines.rotate(x, 1))
    r = np.corrcoef(x.T, y.T)[:8, 8:]
    assert np.abs(r).max() < 0.95
