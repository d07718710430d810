"""Pearson's r between all features: equal to its plain twin, whatever the batches, formats and kernels; its laws."""

import numpy as np
import pytest
from drawn import activations
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from unifeat.matching import Moments, correlate, correlation, plain

SHAPE = dict(tokens=st.integers(2, 30), n=st.integers(1, 5), m=st.integers(1, 5), seed=st.integers(0, 1000))


@pytest.mark.parametrize("rows", [1, 7, 400, 1000])
@pytest.mark.parametrize("dense", [False, True])
def test_equals_its_plain_twin_on_ragged_batches(rows, dense):
    a, b = activations(), activations(n=9, seed=1)
    b = sparse.csr_matrix(np.column_stack([b.toarray(), a.toarray()[:, 3], np.zeros(400), np.full(400, 2.0)]))
    x, y = (a.toarray(), b.toarray()) if dense else (a, b)
    np.testing.assert_allclose(correlate(x, y, rows=rows), plain.correlate(a, b), atol=1e-12)


@settings(deadline=None)
@given(**SHAPE)
def test_equals_its_plain_twin_and_numpys_on_any_shape(tokens, n, m, seed):
    a, b = activations(tokens, n, 0.5, seed), activations(tokens, m, 0.5, seed + 1)
    wanted = plain.correlate(a, b)
    np.testing.assert_allclose(correlate(a, b), wanted, atol=1e-7)
    np.testing.assert_allclose(correlate(a.toarray(), b), wanted, atol=1e-7)  # one of each
    with np.errstate(invalid="ignore", divide="ignore"):
        numpys = np.atleast_2d(np.corrcoef(a.toarray(), b.toarray(), rowvar=False))[:n, n:]
    np.testing.assert_allclose(wanted, numpys, atol=1e-9)


def test_with_and_without_mkl_the_sums_are_the_same(monkeypatch):
    a, b = activations(3000, 150), activations(3000, 70, seed=1)
    kept = [correlate(a, b), correlate(a, sparse.csr_matrix((3000, 3)))]
    monkeypatch.setattr(correlation.torch.backends.mkl, "is_available", lambda: False)
    for r, again in zip(kept, (correlate(a, b), correlate(a, sparse.csr_matrix((3000, 3)))), strict=True):
        np.testing.assert_allclose(again, r, atol=1e-14)


@settings(deadline=None)
@given(**SHAPE)
def test_it_is_symmetric_bounded_and_blind_to_scale_and_to_the_order_of_tokens(tokens, n, m, seed):
    a, b = activations(tokens, n, 0.5, seed), activations(tokens, m, 0.5, seed + 1)
    r, order = correlate(a, b), np.random.default_rng(seed).permutation(tokens)
    np.testing.assert_allclose(r, correlate(b, a).T, atol=1e-9)
    np.testing.assert_allclose(r, correlate(a * 3, b * 0.01), atol=1e-7)
    np.testing.assert_allclose(r, correlate(a[order], b[order]), atol=1e-7)
    assert np.nanmax(np.abs(r), initial=0) <= 1


@settings(deadline=None)
@given(**SHAPE, shift=st.floats(-5, 5), sign=st.sampled_from([-1, 1]))
def test_a_shift_changes_nothing_and_a_turned_sign_turns_r(tokens, n, m, seed, shift, sign):
    a, b = activations(tokens, n, 0.5, seed).toarray(), activations(tokens, m, 0.5, seed + 1).toarray()
    np.testing.assert_allclose(correlate(sign * a + shift, b - shift), sign * correlate(a, b), atol=1e-6)


@settings(deadline=None)
@given(**SHAPE)
def test_features_in_another_order_have_the_same_r_in_that_order(tokens, n, m, seed):
    a, b, rng = activations(tokens, n, 0.5, seed), activations(tokens, m, 0.5, seed + 1), np.random.default_rng(seed)
    i, j = rng.permutation(n), rng.permutation(m)
    np.testing.assert_allclose(correlate(a[:, i], b[:, j]), correlate(a, b)[np.ix_(i, j)], atol=1e-9)


def test_a_feature_and_itself_have_r_1():
    a = activations()
    np.testing.assert_allclose(np.diag(correlate(a, a)), 1, atol=1e-12)
    np.testing.assert_allclose(np.diag(correlate(a.toarray(), -a.toarray())), -1, atol=1e-12)


def test_float32_input_is_summed_in_float64():
    a = sparse.csr_matrix(np.random.default_rng(0).random((20000, 3)).astype(np.float32) + 100)
    np.testing.assert_allclose(correlate(a, a), plain.correlate(a, a), atol=1e-8)


def test_constant_and_silent_features_give_nan():
    a = activations().toarray()
    a[:, 4], a[:, 5] = 0, 0.1  # 0.1 has no exact sum
    for x in (a, sparse.csr_matrix(a)):
        r = correlate(x, activations(seed=1))
        assert np.isnan(r[4:6]).all() and np.isfinite(np.delete(r, [4, 5], 0)).all()


@pytest.mark.parametrize("shape", [(0, 3), (5, 0)])
@pytest.mark.parametrize("dense", [False, True])
def test_no_tokens_or_no_features(shape, dense):
    a, b = sparse.csr_matrix(shape), activations(shape[0], 2)
    r = correlate(a.toarray(), b.toarray()) if dense else correlate(a, b)
    assert r.shape == (shape[1], 2) and np.isnan(r).all()


def test_different_numbers_of_tokens_are_refused():
    with pytest.raises(ValueError, match="have 400 and 300 rows"):
        correlate(activations(), activations(300))
    with pytest.raises(ValueError, match="rows"):
        Moments().add(np.zeros((2, 1)), np.zeros((3, 1)))


def test_moments_of_parts_are_those_of_the_whole():
    a, b, parts = activations(), activations(n=5, seed=1), Moments()
    for start in range(0, 400, 90):
        parts.add(a[start:start + 90], b[start:start + 90])
    np.testing.assert_allclose(parts.pearson(), correlate(a, b), atol=1e-12)
    assert parts.n == 0  # and it begins anew
