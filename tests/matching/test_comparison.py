"""Two SAEs compared in one call: all that is kept of it."""

import numpy as np
import pytest
from drawn import activations
from scipy import sparse

from unifeat import matching
from unifeat.matching import comparison

AT = int(np.flatnonzero(matching.TAUS == 0.8)[0])
DOCUMENTS, DOMAIN = np.repeat(np.arange(40), 10), np.repeat([0, 1], 200)


TEXT = dict(document=DOCUMENTS, domain=DOMAIN, token=np.arange(400) % 10)


def compare(a, b, **more):
    return comparison.compare(a, b, TEXT, 20, 0, **more)


@pytest.fixture(scope="module")
def table():
    """Six features, of which the child has kept four, in another order."""
    a = activations(400, 6, 0.3)
    return compare(a, sparse.hstack([a[:, [3, 1, 0, 2]] * 2, activations(400, 2, 0.3, seed=9)], format="csr"))


def test_what_is_kept_by_the_planted_copy(table):
    assert table["best_of_b"][:4].tolist() == [3, 1, 0, 2] and table["best_of_a"][:4].tolist() == [2, 1, 3, 0]
    pairs = table["assigned"][table["r_assigned"] > 0.99]
    assert sorted(map(tuple, pairs)) == [(0, 2), (1, 1), (2, 3), (3, 0)]
    for rule in matching.RULES:
        assert table[f"observed.{rule}.parent"][AT] == table[f"observed.{rule}.child"][AT] == pytest.approx(4 / 6)
        assert (table[f"null.{rule}.child"][AT:] == 0).all() and table[f"resampled.{rule}.child"].shape == (20, 41)
    assert table["null_of_a"].max() < 0.5 and len(table["null_assigned"]) == len(table["null_pairs"]) == 6


def test_shares_of_a_subset_count_its_features_alone_and_any_partner():
    """Of the child's six features four are kept; of the subset of three, two; no feature is in the empty one."""
    a = activations(400, 6, 0.3)
    b = sparse.hstack([a[:, [3, 1, 0, 2]] * 2, activations(400, 2, 0.3, seed=9)], format="csr")
    subsets = (dict(some=np.arange(6) == 5), dict(some=np.arange(6) > 2, none=np.zeros(6, bool)))
    out = compare(a, b, subsets=subsets)
    for rule in matching.RULES:
        assert out[f"observed.{rule}.child.some"][AT] == pytest.approx(1 / 3)
        assert out[f"observed.{rule}.parent.some"][AT] == 0
        assert all(np.isnan(out[f"{label}.{rule}.child.none"]).all() for label in ("observed", "resampled"))
        assert out[f"resampled.{rule}.child.some"].mean(0)[AT] == pytest.approx(1 / 3)


def test_a_feature_that_the_token_decides_passes_the_null_and_one_of_the_context_does_not():
    token, rng = TEXT["token"], np.random.default_rng(0)
    look, context = (token == 3) * 1.0, np.where(rng.random(400) < 0.3, 1.0, 0)
    both = sparse.csr_matrix(np.stack([look, context], axis=1))
    out = compare(both, both)
    assert out["null_of_b"][0] == pytest.approx(1) and out["null_of_b"][1] < 0.3
    assert out["null.one_to_one.child"][AT] == 0.5 and out["observed.one_to_one.child"][AT] == 1


def test_the_null_may_be_left_out_and_sparse_and_dense_agree(table):
    a = activations(400, 6, 0.3)
    assert not any("null" in key for key in compare(a, a, with_null=False))
    sparse_, dense = compare(a, a * 2), compare(a.toarray(), (a * 2).toarray())
    for key, value in sparse_.items():
        np.testing.assert_allclose(dense[key], value, atol=1e-9, err_msg=key)


def test_which_features_have_a_partner(table):
    one = comparison.Comparison(("a", 0), ("b", 1), np.arange(6), np.arange(6), table)
    for rule in ("best", "one_to_one"):
        of_a, of_b = one.kept(rule, 0.8)
        assert of_a.tolist() == of_b.tolist() == [True] * 4 + [False] * 2
    below, _ = one.kept("one_to_one", -1.0)
    assert below.all()


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_comparing_with_nothing_live_gives_empty_tables(shape):
    out = compare(*(sparse.csr_matrix((400, n)) for n in shape))
    empty = "parent" if shape[0] == 0 else "child"
    assert out["assigned"].shape == (0, 2) and np.isnan(out[f"observed.best.{empty}"]).all()


def test_constant_empty_and_duplicate_features_pass_through():
    a = activations(400, 6, 0.3).toarray()
    a[:, 0], a[:, 1], a[:, 3] = 0, 2, a[:, 2]  # empty, constant, duplicate
    out = compare(sparse.csr_matrix(a), sparse.csr_matrix(a))
    assert out["observed.one_to_one.child"][AT] == pytest.approx(4 / 6)
    assert set(map(tuple, out["assigned"][out["r_assigned"] > 0.99])) in (
        {(2, 2), (3, 3), (4, 4), (5, 5)}, {(2, 3), (3, 2), (4, 4), (5, 5)})
    assert all(np.isfinite(out[f"resampled.{rule}.child"]).all() for rule in matching.RULES)
