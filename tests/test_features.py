import dataclasses

import numpy as np
import pytest
import torch
from scipy import sparse

from unifeat import lm, sae
from unifeat.lineage import settings
from unifeat.sae import features
from unifeat.sae import training as sae_training


@pytest.mark.parametrize("kind", sae.KINDS)
def test_sparse_encoding_equals_dense_and_masks_special_tokens(monkeypatch, kind):
    monkeypatch.setattr(features, "ROWS", 7)
    smoke = settings.load("smoke")
    model = lm.build(smoke.model, 300, 32)
    blocks = np.random.default_rng(0).integers(0, 4, (5, 32))
    x = features.text_activations(model, blocks, batch=2)
    assert len(x) == (blocks > 0).sum()
    one = sae_training.init(dataclasses.replace(smoke.sae, kind=kind), 128, 0, 1.0, torch.zeros(128))
    f = features.encode(one, x)
    dense = torch.cat([one.encode(part) for part in x.split(7)]).numpy()
    assert (f.toarray() == dense).all() and f.has_sorted_indices
    assert (features.fires(f) == (dense > 0).sum(0)).all() and f.nnz == (dense > 0).sum()
    assert features.encode(one, x[:0]).shape == (0, one.width)


def test_top_tokens_by_numpy():
    rng = np.random.default_rng(0)
    dense = np.round(np.where(rng.random((50, 4)) < 0.4, rng.random((50, 4)), 0), 1)
    for feature in range(4):
        column = dense[:, feature]
        want = sorted(np.flatnonzero(column), key=lambda i: (-column[i], i))[:5]
        assert features.top_tokens(sparse.csc_matrix(dense), feature, 5).tolist() == want
    assert features.top_tokens(sparse.csc_matrix((50, 1)), 0, 5).tolist() == []
