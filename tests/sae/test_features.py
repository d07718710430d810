"""Features over a text: sparse latents equal to the dense ones, and where they are strongest."""

import dataclasses

import numpy as np
import patches
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saes import SMOKE, inputs, make
from scipy import sparse

from unifeat import lm, sae
from unifeat.sae import features, plain, training


@pytest.fixture(scope="module")
def model():
    return lm.build(SMOKE.model, 300, 32)


@pytest.mark.parametrize("kind", sae.KINDS)
def test_sparse_encoding_equals_dense_and_masks_special_tokens(monkeypatch, model, kind):
    monkeypatch.setattr(features, "ROWS", 7)
    blocks = np.random.default_rng(0).integers(0, 4, (5, 32))
    x = features.text_activations(model, blocks, batch=2)
    assert len(x) == (blocks > 0).sum()
    one = training.init(dataclasses.replace(SMOKE.sae, kind=kind), 128, 0, 1.0, torch.zeros(128))
    f = features.encode(one, x)
    dense = torch.cat([one.encode(part) for part in x.split(7)]).numpy()
    assert (f.toarray() == dense).all() and f.has_sorted_indices
    assert (features.fires(f) == (dense > 0).sum(0)).all() and f.nnz == (dense > 0).sum()
    assert features.encode(one, x[:0]).shape == (0, one.width)


@pytest.mark.parametrize("kind", sae.KINDS)
@pytest.mark.parametrize("n", [1, 7, 30])
def test_encoding_equals_the_plain_twin_and_stores_only_what_fires(monkeypatch, kind, n):
    patches.float32(monkeypatch)
    monkeypatch.setattr(features, "ROWS", 7)
    one, x = dataclasses.replace(make(kind), threshold=0.4 if kind == "batchtopk" else 0.0), inputs(n)
    one.b_enc -= 0.5  # some tokens have fewer than k positive latents
    f = features.encode(one, x)
    np.testing.assert_allclose(f.toarray(), plain.encode(one, x), rtol=1e-5, atol=1e-5)
    assert f.dtype == np.float32 and (f.data > 0).all() and f.shape == (n, 12)


def test_activations_come_token_by_token_in_the_order_of_the_text(model):
    blocks = np.random.default_rng(0).integers(0, 300, (7, 32))
    blocks[3] = 0  # a block of special tokens alone
    whole = lm.activations(model, torch.from_numpy(blocks))
    block, position = np.nonzero(blocks)
    for batch in (1, 3, 32):
        x = features.text_activations(model, blocks, batch=batch)
        torch.testing.assert_close(x, whole[block, position], rtol=2e-2, atol=1e-3)


def test_activations_are_those_of_the_hook_that_is_asked_for(model):
    blocks = np.random.default_rng(0).integers(1, 300, (2, 32))
    found = {hook: features.text_activations(model, blocks, hook) for hook in
             ("blocks.0.mlp.hook_post", "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post")}
    assert [x.shape[1] for x in found.values()] == [128, 64, 64]
    assert not torch.equal(found["blocks.0.hook_mlp_out"], found["blocks.0.hook_resid_post"])


def test_fires_counts_what_is_positive_not_what_is_stored():
    f = sparse.csr_matrix((np.array([1.0, 0.0, 2.0]), ([0, 1, 2], [0, 0, 2])), shape=(3, 4))
    assert features.fires(f).tolist() == [1, 0, 1, 0]


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_top_tokens_are_numpys_with_ties_by_position(tokens, count, seed):
    rng = np.random.default_rng(seed)
    dense = np.round(np.where(rng.random((tokens, 3)) < 0.4, rng.random((tokens, 3)), 0), 1)
    f = sparse.csc_matrix(dense)
    for feature in range(3):
        column = dense[:, feature]
        want = sorted(np.flatnonzero(column), key=lambda i: (-column[i], i))[:count]
        assert features.top_tokens(f, feature, count).tolist() == want


def test_top_tokens_of_a_feature_that_never_fires():
    assert features.top_tokens(sparse.csc_matrix((50, 1)), 0, 5).tolist() == []
