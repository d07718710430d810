"""Two SAEs compared in one call: all that is kept of it."""

import numpy as np
import pytest
from drawn import activations
from scipy import sparse

from unifeat import matching
from unifeat.matching import comparison

AT = int(np.flatnonzero(matching.TAUS == 0.8)[0])
DOCUMENTS, DOMAIN = np.repeat(np.arange(40), 10), np.repeat([0, 1], 200)


def compare(a, b, **more):
    return comparison.compare(a, b, DOCUMENTS, DOMAIN, 20, 0, **more)


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
    assert table["null_of_a"].max() < 0.5 and len(table["null_assigned"]) == 6


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
