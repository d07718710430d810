"""Partners and the shares that persist: by hand, against brute force, with ties, NaN and empty sides; their laws."""

import numpy as np
import pytest
from drawn import activations
from hypothesis import given, settings
from hypothesis import strategies as st

from unifeat import matching
from unifeat.matching import correlate, excess, match, permute, persistence, plain

SIDE, SEED = st.integers(1, 8), st.integers(0, 500)


def test_a_permuted_scaled_copy_is_recovered_whole():
    a, order = activations(2000, 50), np.random.default_rng(2).permutation(50)
    found = match(correlate(a, (a * 7.5)[:, order]))
    assert (found.partner_of_b == order).all() and (found.partner_of_a[order] == np.arange(50)).all()
    assert (found.assigned[:, 0] == order[found.assigned[:, 1]]).all()
    assert all(share[-1] == 1 for share in persistence(found).values()), "even at r = 1"


def test_rules_by_hand():
    """Parent 0 is best for both children 0 and 1, parent 1 only for child 1's runner-up."""
    r = np.array([[0.9, 0.85, 0.1], [0.2, 0.3, 0.82]])
    found = match(r)
    assert found.partner_of_b.tolist() == [0, 0, 1] and found.partner_of_a.tolist() == [0, 2]
    assert found.mutual.tolist() == [[0, 0], [1, 2]] and found.assigned.tolist() == [[0, 0], [1, 2]]
    shares = {key: value.tolist() for key, value in persistence(found, np.array([0.8, 0.84])).items()}
    assert shares["best", "child"] == [1.0, pytest.approx(2 / 3)] and shares["best", "parent"] == [1.0, 0.5]
    assert shares["one_to_one", "child"] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert shares["mutual", "parent"] == [1.0, 0.5]


def test_one_to_one_may_give_up_a_best_pair_for_the_sum():
    found = match(np.array([[0.9, 0.8], [0.85, 0.1]]))
    assert found.assigned.tolist() == [[0, 1], [1, 0]] and found.mutual.tolist() == [[0, 0]]


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), SEED, st.booleans())
def test_one_to_one_has_the_greatest_sum_of_all_assignments(n, m, seed, ties):
    r = np.random.default_rng(seed).uniform(-1, 1, (n, m))
    r = np.round(r, 1) if ties else r
    assigned = match(r).assigned
    assert r[tuple(assigned.T)].sum() == pytest.approx(plain.one_to_one(r), abs=1e-12)
    assert len(set(assigned[:, 0])) == len(set(assigned[:, 1])) == len(assigned) == min(n, m)


@given(SIDE, SIDE, SEED)
def test_of_equal_partners_the_first_is_taken(n, m, seed):
    r = np.random.default_rng(seed).integers(-2, 3, (n, m)) / 2
    found = match(r)
    assert (found.partner_of_a == r.argmax(1)).all() and (found.partner_of_b == r.argmax(0)).all()
    pairs = {(i, found.partner_of_a[i]) for i in range(n) if found.partner_of_b[found.partner_of_a[i]] == i}
    assert set(map(tuple, found.mutual)) == pairs


def test_when_all_are_equal_one_to_one_pairs_them_all_and_mutual_but_one():
    found = match(np.full((3, 4), 0.9))
    assert len(found.assigned) == 3 and found.mutual.tolist() == [[0, 0]]
    shares = persistence(found, [0.9])
    assert shares["best", "child"] == 1 and shares["one_to_one", "child"] == 0.75 and shares["mutual", "child"] == 0.25


@given(SIDE, SIDE, SEED)
def test_the_sides_may_be_exchanged(n, m, seed):
    r = np.random.default_rng(seed).uniform(-1, 1, (n, m))
    found, turned = match(r), match(r.T)
    assert (found.partner_of_a == turned.partner_of_b).all() and (found.partner_of_b == turned.partner_of_a).all()
    assert set(map(tuple, found.mutual)) == set(map(tuple, turned.mutual[:, ::-1]))
    assert set(map(tuple, found.assigned)) == set(map(tuple, turned.assigned[:, ::-1]))


@given(SIDE, SIDE, SEED)
def test_laws_of_the_shares(n, m, seed):
    rng = np.random.default_rng(seed)
    r = rng.uniform(-1, 1, (n, m))
    shares = persistence(match(r))
    again = persistence(match(r[rng.permutation(n)][:, rng.permutation(m)]))
    for key, share in shares.items():
        np.testing.assert_allclose(again[key], share, err_msg="the order of the features")
        assert (np.diff(share) <= 1e-12).all() and (share >= 0).all() and (share <= 1).all()
    for side in ("parent", "child"):
        assert (shares["mutual", side] <= shares["best", side] + 1e-12).all()
        assert (shares["one_to_one", side] <= shares["best", side] + 1e-12).all()
    for rule in ("mutual", "one_to_one"):  # the same pairs, over either side's features
        np.testing.assert_allclose(shares[rule, "parent"] * n, shares[rule, "child"] * m)


def test_a_share_counts_r_of_exactly_tau_whatever_was_rounded():
    shares = persistence(match(np.array([[0.8 - 1e-12]])), [0.8, 0.8 + 1e-6])
    assert shares["best", "child"].tolist() == [1, 0]


# NaN, and nothing ---------------------------------------------------------------------------------------------


def test_features_that_never_fire_never_match():
    a = activations().multiply(np.arange(12) != 4).tocsr()
    found = match(correlate(a, activations(seed=1)))
    assert found.r[4].max() == -1 and all(np.isfinite(share).all() for share in persistence(found).values())


@given(SIDE, SIDE, SEED)
def test_nan_counts_as_the_least_r_there_is(n, m, seed):
    rng = np.random.default_rng(seed)
    r = np.where(rng.random((n, m)) < 0.4, np.nan, rng.uniform(-1, 1, (n, m)))
    kept, found = r.copy(), match(r)
    np.testing.assert_array_equal(r, kept)  # the caller's are left alone
    assert (found.r[np.isnan(r)] == -1).all() and np.isfinite(found.r).all()
    for rule in matching.RULES:
        pairs = found.pairs(rule, "child")
        real = found.r[tuple(pairs.T)] >= 0
        assert not np.isnan(r[tuple(pairs[real].T)]).any()


def test_all_nan_persists_nowhere():
    assert all((share == 0).all() for share in persistence(match(np.full((2, 3), np.nan))).values())


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_empty_sides_give_nan_not_errors(shape):
    found = match(np.zeros(shape))
    for (rule, side), share in persistence(found).items():
        assert np.isnan(share).all() if shape[side == "child"] == 0 else (share == 0).all(), rule


def test_independent_noise_does_not_match():
    a, b = activations(5000, 200, 0.02), activations(5000, 200, 0.02, seed=9)
    assert max(share[0] for share in persistence(match(correlate(a, b)), [0.8]).values()) < 0.001


# Null and excess ----------------------------------------------------------------------------------------------


def test_permutation_keeps_densities_and_breaks_agreement():
    a = activations(3000, 20)
    shuffled = permute(a, 0)
    np.testing.assert_allclose(shuffled.sum(0), a.sum(0))
    assert (permute(a, 0) != shuffled).nnz == 0 and (permute(a, 1) != shuffled).nnz > 0
    assert np.abs(np.diag(correlate(a, shuffled))).max() < 0.15


@given(st.floats(0, 1), st.floats(0.2, 1), st.floats(0, 0.1), st.floats(-2, 2), st.floats(0.1, 3))
def test_excess_is_0_at_the_null_1_at_the_ceiling_and_a_straight_line_between(share, ceiling, null, shift, scale):
    assert excess(null, ceiling, null) == 0 and excess(ceiling, ceiling, null) == pytest.approx(1)
    assert excess(null + share * (ceiling - null), ceiling, null) == pytest.approx(share, abs=1e-9)
    moved = [scale * value + shift for value in (share, ceiling, null)]
    assert excess(*moved) == pytest.approx(excess(share, ceiling, null), rel=1e-6, abs=1e-6)


def test_excess_of_arrays_and_where_there_is_no_room():
    found = excess(np.array([0.4, 0.1, 0.2, np.nan]), np.array([0.5, 0.1, 0.1, 0.5]), np.array([0.0, 0.1, 0.3, 0.0]))
    assert found[0] == pytest.approx(0.8) and np.isnan(found[1:]).all()


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 1000))
def test_permuting_within_tokens_keeps_the_token_and_moves_every_row_that_has_a_fellow(tokens, seed):
    tokens = np.array(tokens, dtype=int)
    rows, others = matching.permute_within(tokens, seed)
    counts = np.bincount(tokens, minlength=7)
    assert rows.tolist() == np.flatnonzero(counts[tokens] > 1).tolist() and sorted(others) == sorted(rows)
    assert (tokens[rows] == tokens[others]).all() and not (rows == others).any()
