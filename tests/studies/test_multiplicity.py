"""Many children of one parent feature, and pairs of one index, on comparisons made by hand."""

import numpy as np
import pytest
from scipy import sparse

from unifeat.matching.comparison import Comparison, compare
from unifeat.studies import multiplicity


def made(best_of_b, r_of_b, assigned, r_assigned, live_a, live_b) -> Comparison:
    """A stored comparison; positions in the table count the live latents."""
    table = dict(best_of_b=np.array(best_of_b, int), r_of_b=np.array(r_of_b, float),
                 assigned=np.array(assigned, int).reshape(-1, 2), r_assigned=np.array(r_assigned, float))
    r_of_a = np.zeros(len(live_a))
    return Comparison(("a", 0), ("b", 1), np.array(live_a, int), np.array(live_b, int),
                      table | dict(r_of_a=r_of_a))


def family() -> Comparison:
    """Six children: three choose the parent's feature 0, two its 1 (one of them below 0.8), one its 2."""
    return made([0, 0, 0, 1, 1, 2], [0.9, 0.8, 0.95, 0.85, 0.7, 0.99], [[0, 2], [1, 3], [2, 5], [3, 0]],
                [0.95, 0.85, 0.99, 0.3], live_a=[2, 4, 6, 7], live_b=[1, 2, 3, 4, 5, 8])


def lonely() -> Comparison:
    """Two children with a partner each, both of the same index."""
    return made([1, 0], [0.9, 0.8], [[0, 1], [1, 0]], [0.8, 0.9], live_a=[3, 9], live_b=[9, 3])


def test_children_of_one_parent_feature_by_hand():
    """Five pass at 0.8 and choose 0, 0, 0, 1, 2: three of five share theirs. At 0.7 the sixth makes it five of six."""
    assert multiplicity.multiplicity([family()], 0.8) == dict(passing=5, partners=3, shared=3 / 5, largest=3)
    assert multiplicity.multiplicity([family()], 0.7) == dict(passing=6, partners=3, shared=5 / 6, largest=3)
    assert multiplicity.multiplicity([lonely()], 0.8) == dict(passing=2, partners=2, shared=0, largest=1)


def test_means_are_over_pairs_of_saes_and_the_largest_is_that_of_any():
    found = multiplicity.multiplicity([lonely(), family()], 0.8)
    assert found == pytest.approx(dict(passing=3.5, partners=2.5, shared=0.3, largest=3))


def test_pairs_of_one_index_are_told_by_latents_and_not_by_positions():
    """Best matches at 0.8: (2,1) (2,2) (2,3) (4,4) (6,8): two of five; one to one: (2,3) (4,4) (6,8): one of three.

    By position it would be 0-0, 0-1, 0-2, 1-3, 2-5: one of five. By chance: latents 2 and 4 live in both, of 4 * 6
    pairs.
    """
    found = multiplicity.same_index([family()], 0.8)
    assert found == pytest.approx(dict(best=2 / 5, one_to_one=1 / 3, chance=2 / 24))
    assert multiplicity.same_index([lonely()], 0.8) == dict(best=1, one_to_one=1, chance=2 / 4)
    assert multiplicity.same_index([family(), lonely()], 0.8)["one_to_one"] == pytest.approx(2 / 3)


def test_chance_is_one_over_the_width_where_all_latents_live():
    n = 8
    one = made(np.arange(n), np.zeros(n), np.zeros((0, 2), int), np.zeros(0), np.arange(n), np.arange(n))
    assert multiplicity.same_index([one], 0.8)["chance"] == 1 / n


def test_where_nothing_passes_there_is_no_share():
    found = multiplicity.multiplicity([family()], 0.999)
    assert found["passing"] == found["partners"] == found["largest"] == 0 and np.isnan(found["shared"])
    found = multiplicity.same_index([family()], 0.999)
    assert np.isnan(found["best"]) and np.isnan(found["one_to_one"]) and found["chance"] > 0
    dead = made([], [], [], [], [], [])
    assert np.isnan(multiplicity.same_index([dead], 0.8)["chance"])
    assert np.isnan(multiplicity.multiplicity([dead, lonely()], 2.0)["shared"])
    mixed = multiplicity.multiplicity([family(), lonely()], 0.96)  # the second has no share and counts in no mean of it
    assert mixed["shared"] == 0 and mixed["passing"] == 0.5


def test_a_true_comparison_of_a_copied_feature():
    """The child has the parent's feature 0 twice, at index 0 and 2, and its feature 1 at index 1."""
    rng = np.random.default_rng(0)
    a = rng.random((400, 2)) * (rng.random((400, 2)) < 0.3)
    b = np.column_stack([a[:, 0], a[:, 1], a[:, 0] + 0.001 * rng.random(400)])
    text = dict(document=np.arange(400) // 4, domain=np.zeros(400, int), token=np.zeros(400, int))
    found = compare(sparse.csr_matrix(a), sparse.csr_matrix(b), text, 2, 0)
    one = Comparison(("a", 0), ("b", 0), np.arange(2), np.arange(3), found)
    assert multiplicity.multiplicity([one], 0.8) == dict(passing=3, partners=2, shared=2 / 3, largest=2)
    assert multiplicity.same_index([one], 0.8)["best"] == pytest.approx(2 / 3)


def test_the_table_has_a_row_per_group_with_both_checks():
    frame = multiplicity.table({"a → b": [family()], "twins of b": [lonely()]}, 0.8)
    assert frame["pairs"].tolist() == ["a → b", "twins of b"] and frame["shared"].tolist() == [0.6, 0]
    assert frame["same_best"].tolist() == [0.4, 1] and frame["same_chance"].tolist() == [2 / 24, 0.5]


def test_a_run_has_a_row_per_edge_and_models_twins_and_a_sentence(planted):
    frame = multiplicity.of_run(planted)
    edges = [f"{a} → {b}, controlled" for a, b in planted.lineage.edges]
    assert set(edges) < set(frame["pairs"]) and "base → base, controlled" in set(frame["pairs"])
    text = multiplicity.answer(frame)
    assert text.startswith("By best match, 0.0% of the child's persisting features share their partner")
    assert "controlled (chance " in text
    assert "no edge" in multiplicity.answer(frame[frame["pairs"] == "base → base, controlled"])
