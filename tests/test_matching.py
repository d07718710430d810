import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from unifeat import matching
from unifeat.matching import bootstrap, comparison
from unifeat.matching.match import Moments, correlate, excess, match, permute, persistence


def activations(tokens=400, n=12, density=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(np.where(rng.random((tokens, n)) < density, rng.exponential(size=(tokens, n)), 0))


def reference(a, b):
    """Pearson by numpy's corrcoef, NaN for constant columns."""
    a, b = (m.toarray() if sparse.issparse(m) else np.asarray(m) for m in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(a, b, rowvar=False)[:a.shape[1], a.shape[1]:]


@pytest.mark.parametrize("rows", [1, 7, 400, 1000])
@pytest.mark.parametrize("dense", [False, True])
def test_streaming_pearson_equals_numpy_on_ragged_batches(rows, dense):
    a, b = activations(), activations(n=9, seed=1)
    b = sparse.csr_matrix(np.column_stack([b.toarray(), a.toarray()[:, 3], np.zeros(400), np.full(400, 2.0)]))
    x, y = (a.toarray(), b.toarray()) if dense else (a, b)
    np.testing.assert_allclose(correlate(x, y, rows=rows), reference(a, b), atol=1e-12)


def test_with_and_without_mkl_the_sums_are_the_same(monkeypatch):
    a, b = activations(3000, 150), activations(3000, 70, seed=1)
    kept = [correlate(a, b), correlate(a, sparse.csr_matrix((3000, 3)))]
    monkeypatch.setattr(matching.torch.backends.mkl, "is_available", lambda: False)
    for r, again in zip(kept, (correlate(a, b), correlate(a, sparse.csr_matrix((3000, 3)))), strict=True):
        np.testing.assert_allclose(again, r, atol=1e-14)


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_pearson_is_symmetric_bounded_and_blind_to_scale(tokens, n, m, seed):
    a, b = activations(tokens, n, 0.5, seed), activations(tokens, m, 0.5, seed + 1)
    r = correlate(a, b)
    np.testing.assert_allclose(r, correlate(b, a).T, atol=1e-9)
    np.testing.assert_allclose(r, correlate(a * 3, b * 0.01), atol=1e-7)
    assert np.nanmax(np.abs(r), initial=0) <= 1


def test_float32_input_is_summed_in_float64():
    a = sparse.csr_matrix(np.random.default_rng(0).random((20000, 3)).astype(np.float32) + 100)
    np.testing.assert_allclose(correlate(a, a), reference(a.astype(np.float64), a.astype(np.float64)), atol=1e-8)


def test_features_that_never_fire_give_nan_and_never_match():
    a, b = activations(), activations(seed=1)
    a = a.multiply(np.arange(12) != 4).tocsr()
    r = correlate(a, b)
    assert np.isnan(r[4]).all() and np.isfinite(np.delete(r, 4, 0)).all()
    found = match(r)
    assert found.r[4].max() == -1 and all(np.isfinite(share).all() for share in persistence(found).values())


def test_different_numbers_of_tokens_are_refused():
    with pytest.raises(ValueError, match="have 400 and 300 rows"):
        correlate(activations(), activations(300))
    with pytest.raises(ValueError, match="rows"):
        Moments().add(np.zeros((2, 1)), np.zeros((3, 1)))


def test_a_permuted_scaled_copy_is_recovered_whole():
    a = activations(2000, 50)
    order = np.random.default_rng(2).permutation(50)
    found = match(correlate(a, (a * 7.5)[:, order]))
    assert (found.partner_of_b == order).all() and (found.assigned[:, 1] == np.argsort(order)).all()
    assert all(share[-1] == 1 for share in persistence(found, np.array([0.8, 1.0])).values())


def test_independent_noise_does_not_match():
    a, b = activations(5000, 200, 0.02), activations(5000, 200, 0.02, seed=9)
    shares = persistence(match(correlate(a, b)), np.array([0.8]))
    assert max(share[0] for share in shares.values()) < 0.001


def test_the_three_rules_by_hand():
    """Two parents, three children: both children 0 and 1 like parent 0 best; parent 1 has only child 2."""
    r = np.array([[0.9, 0.85, 0.1], [0.2, 0.3, 0.82]])
    found = match(r)
    assert found.partner_of_b.tolist() == [0, 0, 1] and found.partner_of_a.tolist() == [0, 2]
    assert found.mutual.tolist() == [[0, 0], [1, 2]] and found.assigned.tolist() == [[0, 0], [1, 2]]
    shares = {key: value.tolist() for key, value in persistence(found, np.array([0.8, 0.84])).items()}
    assert shares["best", "child"] == [1.0, pytest.approx(2 / 3)] and shares["best", "parent"] == [1.0, 0.5]
    assert shares["one_to_one", "child"] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert shares["mutual", "parent"] == [1.0, 0.5]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 500))
def test_laws_of_the_rules(n, m, seed):
    found = match(np.random.default_rng(seed).uniform(-1, 1, (n, m)))
    shares = persistence(found)
    assert len(set(found.assigned[:, 0])) == len(set(found.assigned[:, 1])) == min(n, m)
    for side in ("parent", "child"):
        assert (shares["mutual", side] <= shares["best", side] + 1e-12).all()
        assert (shares["one_to_one", side] <= shares["best", side] + 1e-12).all()
        assert all((np.diff(shares[rule, side]) <= 1e-12).all() for rule in matching.RULES)


def test_empty_sides_give_nan_not_errors():
    found = match(np.zeros((0, 4)))
    shares = persistence(found)
    assert np.isnan(shares["best", "parent"]).all() and (shares["best", "child"] == 0).all()


def test_permutation_keeps_densities_and_breaks_agreement():
    a = activations(3000, 20)
    shuffled = permute(a, 0)
    np.testing.assert_allclose(shuffled.sum(0), a.sum(0))
    assert (permute(a, 0) != shuffled).nnz == 0 and (permute(a, 1) != shuffled).nnz > 0
    assert np.abs(np.diag(correlate(a, shuffled))).max() < 0.15


def test_excess_by_hand():
    assert excess(0.4, 0.5, 0.0) == pytest.approx(0.8) and excess(0.1, 0.1, 0.1) != excess(0.1, 0.1, 0.1)


def test_bootstrap_of_one_document_per_stratum_is_the_estimate_itself():
    """With a single document in each domain every resample is the probe, so every share equals the observed one."""
    a = activations(300, 15)
    b = (a + activations(300, 15, 0.05, seed=3) * 0.7).tocsr()
    found, domain = match(correlate(a, b)), np.repeat([0, 1, 2], 100)
    shares, resampled = persistence(found), bootstrap.bootstrap(a, b, found, domain, domain, 4, seed=0)
    for key, value in shares.items():
        np.testing.assert_allclose(resampled[key], np.tile(value, (4, 1)), atol=1e-12)


def test_resampled_r_equals_literal_resampling():
    """Rows of the drawn documents repeated as often as drawn, correlations by numpy; dense and sparse alike."""
    a = activations(200, 6, 0.4)
    b = (a + activations(200, 6, 0.2, seed=3)).tocsr()
    documents, domain, found = np.repeat(np.arange(20), 10), np.repeat([0, 1], 100), match(correlate(a, b))
    resampled = bootstrap.resampled_r(a, b, found, documents, domain, 3, seed=5)
    dense = bootstrap.resampled_r(a.toarray(), b.toarray(), found, documents, domain, 3, seed=5)
    weights = bootstrap._resample(np.repeat([0, 1], 10), 3, 5)
    assert (weights[:, :10].sum(1) == 10).all() and (weights[:, 10:].sum(1) == 10).all()
    for row, draws in enumerate(weights.astype(int)):
        at = np.repeat(np.arange(200), np.repeat(draws, 10))
        r = reference(a[at], b[at])
        for key, (values, pairs) in resampled.items():
            np.testing.assert_allclose(values[row], r[tuple(pairs.T)], atol=1e-12)
            np.testing.assert_allclose(dense[key][0][row], values[row], atol=1e-12)


def test_calibration_by_hand():
    """Two pairs of four features at tau 0.8: one far above; one at 0.81 that two of four resamples put below.

    Shares are 1/4 or 2/4 around an observed 2/4: mean square 1/32, plus (1/2)^2 / 16 = 1/64 for the changed side,
    over a variance of 1/64: deviations of 1/8 grow by sqrt(3).
    """
    resampled = np.array([[0.95, 0.7], [0.95, 0.7], [0.95, 0.9], [0.95, 0.9]])
    spread = bootstrap.calibrated(np.array([0.95, 0.81]), resampled, 4, taus=[0.8])[:, 0]
    np.testing.assert_allclose(spread, 0.5 + np.array([-1, -1, 1, 1]) * np.sqrt(3) / 8)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_comparing_with_nothing_live_gives_empty_tables(shape):
    a, b = (sparse.csr_matrix((50, n)) for n in shape)
    out = comparison.compare(a, b, np.repeat(np.arange(5), 10), np.zeros(50, int), 3, 0)
    empty = "parent" if shape[0] == 0 else "child"
    assert out["assigned"].shape == (0, 2) and np.isnan(out[f"observed.best.{empty}"]).all()


def test_constant_empty_and_duplicate_features_pass_through_a_comparison():
    a = activations(400, 6, 0.3).toarray()
    a[:, 0], a[:, 1], a[:, 3] = 0, 2, a[:, 2]  # empty, constant, duplicate
    out = comparison.compare(sparse.csr_matrix(a), sparse.csr_matrix(a), np.repeat(np.arange(40), 10),
                             np.repeat([0, 1], 200), 20, 0)
    at = np.flatnonzero(matching.TAUS == 0.8)[0]
    assert out["observed.one_to_one.child"][at] == pytest.approx(4 / 6)
    assert set(map(tuple, out["assigned"][out["r_assigned"] > 0.99])) in (
        {(2, 2), (3, 3), (4, 4), (5, 5)}, {(2, 3), (3, 2), (4, 4), (5, 5)})
    assert all(np.isfinite(out[f"resampled.{rule}.child"]).all() for rule in matching.RULES)
