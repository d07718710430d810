"""Lexical rules: learned from planted features, simulated, put into words."""

import numpy as np
import pytest
from scipy import sparse

from unifeat.autointerp import rules, scores
from unifeat.matching import token_features


def table_of(ids, classes=None):
    """Slots of one stream of token ids."""
    ids = np.asarray(ids)
    classes = np.arange(ids.max() + 1) % 18 if classes is None else classes
    return rules.slots(ids[None], np.zeros(len(ids), int), np.arange(len(ids)), classes)


def test_slots_look_back_and_stop_at_the_start():
    classes = np.array([0, 5, 6, 7])
    found = rules.slots(np.array([[1, 2, 0, 3]]), np.array([0, 0, 0]), np.array([0, 1, 3]), classes)
    assert found[0].tolist() == [1, 2, 3]
    assert found[1].tolist() == [5, 6, 7]
    assert found[2].tolist() == [0, 1, 0]
    assert found[4].tolist() == [0, 0, 0]  # beyond the special token lies another document


@pytest.fixture
def text():
    rng = np.random.default_rng(0)
    return table_of(rng.integers(1, 40, 20_000))


def test_planted_rules_are_found_and_simulate_exactly(text):
    token, before = text[0], text[2]
    f = np.stack([np.where(token == 7, 2.0, np.where(token == 9, 1.0, 0)),
                  3.0 * ((token == 5) & (before == 11)), 1.0 * (before == 4)], axis=1)
    learned = rules.learn(sparse.csr_matrix(f), text)
    assert learned[0] == rules.Rule((0,), ({7: 2.0, 9: 1.0},))
    assert {learned[1].slots} <= {(0, 2), (2, 0)} and learned[2] == rules.Rule((2,), ({4: 1.0},))
    assert np.allclose(rules.simulate(learned, text).toarray(), f)
    assert np.allclose(scores.simulation(f, rules.simulate(learned, text)), 1)
    assert np.allclose(scores.detection(sparse.csr_matrix(f), rules.simulate(learned, text), np.arange(20_000) // 8), 1)


def test_noise_is_not_explained(text):
    rng = np.random.default_rng(1)
    f = sparse.csr_matrix(rng.random((20_000, 30)) * (rng.random((20_000, 30)) < 0.02))
    learned = rules.learn(f[:10_000], text[:, :10_000])
    found = scores.simulation(f[10_000:], rules.simulate(learned, text[:, 10_000:]))
    assert abs(np.median(found)) < 0.02


def test_an_unseen_value_is_silent(text):
    assert rules.simulate([rules.Rule((0,), ({10**6: 1.0},)), rules.Rule()], text).nnz == 0


def test_the_learning_half_shares_no_document_with_the_other():
    document, domain = np.repeat(np.arange(10), 7), np.repeat([0, 1], 35)
    half = token_features.halves(document, domain)
    assert not set(document[half]) & set(document[~half])
    assert all(half[domain == d].any() and (~half[domain == d]).any() for d in (0, 1))


@pytest.mark.parametrize("rule, words", [
    (rules.Rule((0,), ({1: 2.0, 2: 3.0},)), "`2` or `1`"),
    (rules.Rule((1, 0), ({5: 1.0}, {3: 1.0})), "`3` that is a keyword"),
    (rules.Rule((3,), ({0: 1.0},)), "any token after the start of the text"),
    (rules.Rule((0, 4), ({3: 1.0}, {1: 1.0})), "`3` with `1` two tokens before"),
    (rules.Rule(), "no rule found")])
def test_sentences(rule, words):
    assert rules.sentence(rule, lambda number: f"`{number}`") == words
