"""Intervals of the shares: the resamples against literal ones, the calibration by hand, what an interval contains."""

import numpy as np
import pytest
from drawn import activations
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from unifeat.matching import bootstrap, correlate, match, persistence, plain


def test_bootstrap_of_one_document_per_stratum_is_the_estimate_itself():
    """With a single document in each domain every resample is the text itself, so every share is the observed one."""
    a = activations(300, 15)
    b = (a + activations(300, 15, 0.05, seed=3) * 0.7).tocsr()
    found, domain = match(correlate(a, b)), np.repeat([0, 1, 2], 100)
    shares, resampled = persistence(found), bootstrap.bootstrap(a, b, found, domain, domain, 4, seed=0)
    for key, value in shares.items():
        np.testing.assert_allclose(resampled[key], np.tile(value, (4, 1)), atol=1e-12)


@pytest.mark.parametrize("density", [0.4, 0.02])  # at the second some features never fire in a resample
def test_resampled_r_equals_its_plain_twin(density):
    """Documents repeated as often as they were drawn, dense and sparse alike."""
    a = activations(200, 6, density)
    b = (a + activations(200, 6, density / 2, seed=3)).tocsr()
    documents, domain, found = np.repeat(np.arange(20), 10), np.repeat([0, 1], 100), match(correlate(a, b))
    resampled = bootstrap.resampled_r(a, b, found, documents, domain, 3, seed=5)
    dense = bootstrap.resampled_r(a.toarray(), b.toarray(), found, documents, domain, 3, seed=5)
    weights = bootstrap._resample(np.repeat([0, 1], 10), 3, 5)
    for row, draws in enumerate(weights.astype(int)):
        r = np.nan_to_num(plain.resampled(a, b, documents, draws), nan=-1.0)
        for key, (values, pairs) in resampled.items():
            np.testing.assert_allclose(values[row], r[tuple(pairs.T)], atol=1e-12)
            np.testing.assert_allclose(dense[key][0][row], values[row], atol=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 1000))
def test_every_domain_keeps_its_number_of_documents(strata, seed):
    strata = np.array(strata)
    weights = bootstrap._resample(strata, 4, seed)
    for stratum in np.unique(strata):
        assert (weights[:, strata == stratum].sum(1) == (strata == stratum).sum()).all()
    assert (bootstrap._resample(strata, 4, seed) == weights).all()


def test_calibration_by_hand():
    """Two pairs of four features at tau 0.8: one far above; one at 0.81 that two of four resamples put below.

    Shares are 1/4 or 2/4 around an observed 2/4: mean square 1/32, plus (1/2)^2 / 16 = 1/64 for the changed side,
    over a variance of 1/64: deviations of 1/8 grow by sqrt(3).
    """
    resampled = np.array([[0.95, 0.7], [0.95, 0.7], [0.95, 0.9], [0.95, 0.9]])
    spread = bootstrap.calibrated(np.array([0.95, 0.81]), resampled, 4, taus=[0.8])[:, 0]
    np.testing.assert_allclose(spread, 0.5 + np.array([-1, -1, 1, 1]) * np.sqrt(3) / 8)


@given(st.integers(1, 12), st.integers(0, 1000))
def test_calibrated_shares_are_centred_on_the_observed_and_no_narrower_than_the_resampled(pairs, seed):
    rng, taus = np.random.default_rng(seed), np.array([0.3, 0.5, 0.8])
    r = rng.uniform(0, 1, pairs)
    resampled = np.clip(r + rng.normal(0, 0.1, (40, pairs)), -1, 1)
    spread = bootstrap.calibrated(r, resampled, 12, taus)
    plain_shares = np.stack([(resampled >= tau).sum(1) / 12 for tau in taus], axis=1)
    np.testing.assert_allclose(spread.mean(0), [(r >= tau).sum() / 12 for tau in taus], atol=1e-9)
    assert (spread.std(0) >= plain_shares.std(0) - 1e-9).all()


@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 1000))
def test_an_interval_contains_the_observed_share_stays_in_bounds_and_grows_with_its_level(n, observed, seed):
    shares = np.random.default_rng(seed).normal(observed, 0.3, n)
    low, high = bootstrap.interval(shares, observed)
    assert 0 <= low <= observed <= high <= 1
    narrow = bootstrap.interval(shares, observed, level=0.5)
    assert low <= narrow[0] and narrow[1] <= high


def test_nothing_resampled_has_no_interval():
    assert np.isnan(bootstrap.interval(np.full((5, 3), np.nan))).all()
    assert np.isnan(bootstrap.calibrated(np.zeros(0), np.zeros((4, 0)), 0)).all()


def test_intervals_hold_what_much_text_would_show():
    """Two models of noisy copies: most of 60 intervals from a little text contain the share on a lot of text."""
    rng, covered = np.random.default_rng(0), []
    noise = np.linspace(0.1, 1.2, 30)

    def draw(documents):
        a = rng.gamma(0.3, 1, (documents, 12, 30))  # (documents, tokens, features)
        b = a + noise * rng.gamma(0.3, 1, a.shape)
        return a.reshape(-1, 30), b.reshape(-1, 30), np.repeat(np.arange(documents), 12)

    a, b, _ = draw(4000)
    truth = (np.diag(correlate(a, b)) >= 0.8).mean()
    for seed in range(60):
        a, b, documents = draw(60)
        found = match(correlate(a, b))
        shares = bootstrap.bootstrap(a, b, found, documents, np.zeros(len(documents)), 60, seed, taus=[0.8])
        low, high = bootstrap.interval(shares["best", "parent"][:, 0])
        covered.append(low - 1e-9 <= truth <= high + 1e-9)
    assert 0.2 < truth < 0.8 and np.mean(covered) >= 0.9


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, lambda m: m.toarray()])
def test_any_kind_of_matrix_will_do(make):
    a, b = activations(200, 5, 0.4), activations(200, 4, 0.4, seed=1)
    documents, found = np.repeat(np.arange(20), 10), match(correlate(a, b))
    wanted = bootstrap.bootstrap(a, b, found, documents, documents % 2, 5, 0)
    got = bootstrap.bootstrap(make(a), make(b), found, documents, documents % 2, 5, 0)
    for key, value in wanted.items():
        np.testing.assert_allclose(got[key], value, atol=1e-12)
