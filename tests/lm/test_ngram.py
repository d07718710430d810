"""The Kneser-Ney model and the mixture of such models, the baseline, against their formulas and laws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifeat.lm.ngram import KneserNey, Mixture, evaluate
from unifeat.lm.plain import kneser_ney, mixture


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("vocab", [3, 30])
def test_equals_its_plain_twin(order, vocab):
    rng = np.random.default_rng(order)
    tokens = (rng.integers(0, vocab, 300) ** 2) % vocab
    model, p = KneserNey(tokens, order, vocab), kneser_ney(tokens.tolist(), order, vocab)
    rows = rng.integers(0, vocab, (4, 9))
    want = [[math.log(p(row[i], tuple(row[:i]))) for i in range(1, 9)] for row in rows.tolist()]
    np.testing.assert_allclose(model.log_probabilities(rows), want, rtol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one(order):
    rng = np.random.default_rng(0)
    model = KneserNey(rng.integers(0, 7, 500), order, 7)
    rows = np.array([[2, 5, word] for word in range(7)])
    assert np.exp(model.log_probabilities(rows)[:, 1]).sum() == pytest.approx(1)


def test_bits_per_byte_by_hand():
    model = KneserNey(np.array([0, 1, 0, 1, 0, 1, 1]), 2, 2)
    out = evaluate(model, np.array([[0, 1, 1]]), np.array([0, 3]))
    nats = -model.log_probabilities(np.array([[0, 1, 1]])).sum()
    assert out["tokens"] == 2 and out["bytes"] == 6
    assert out["bits_per_byte"] == pytest.approx(nats / math.log(2) / 6)


class Fixed:
    """A model that gives the token w the probability p[w] after any history."""

    def __init__(self, *p):
        self.p = np.array(p)

    def log_probabilities(self, rows):
        return np.log(self.p[np.asarray(rows)[:, 1:]])


def test_a_mixture_of_two_by_hand():
    """Weights 1/2 and 1/2 for the first 1, then 3/4 and 1/4, then 9/10 and 1/10; after the 0 both are 1/2 again."""
    a, b = Fixed(0.2, 0.6, 0.2), Fixed(0.2, 0.2, 0.6)
    rows = [[2, 1, 1, 0, 2], [1, 0, 2, 2, 1]]  # the second: 1/2 until after the 0, then 1/4 and 3/4, 1/10 and 9/10
    want = [[0.4, 0.5, 0.2, 0.4], [0.2, 0.4, 0.5, 0.24]]
    np.testing.assert_allclose(np.exp(Mixture([a, b]).log_probabilities(rows)), want, rtol=1e-12)


def texts(vocab: int, number: int = 3) -> list[np.ndarray]:
    """Token streams of one domain each: random walks that differ in their steps."""
    rng = np.random.default_rng(vocab)
    return [np.cumsum(rng.integers(1, 3 + step, 400) * (step + 1)) % vocab for step in range(number)]


@pytest.mark.parametrize("eos", [0, 3])
def test_a_mixture_equals_its_plain_twin(eos):
    models = [KneserNey(text, 3, 7) for text in texts(7)]
    p = mixture([kneser_ney(text.tolist(), 3, 7) for text in texts(7)], eos)
    rows = np.random.default_rng(1).integers(0, 7, (5, 12))
    want = [[math.log(p(row[i], tuple(row[:i]))) for i in range(1, 12)] for row in rows.tolist()]
    np.testing.assert_allclose(Mixture(models, eos).log_probabilities(rows), want, rtol=1e-10)


def test_a_mixture_of_one_is_the_model():
    model, rows = KneserNey(texts(7)[0], 3, 7), np.random.default_rng(0).integers(0, 7, (6, 20))
    np.testing.assert_array_equal(Mixture([model]).log_probabilities(rows), model.log_probabilities(rows))


def test_a_mixture_does_not_depend_on_the_order_of_its_domains():
    models, rows = [KneserNey(text, 3, 7) for text in texts(7)], np.random.default_rng(0).integers(0, 7, (6, 20))
    first, *others = (Mixture(list(some)).log_probabilities(rows) for some in itertools.permutations(models))
    assert len(others) == 5
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-12)


@pytest.mark.parametrize("history", [[2], [2, 5, 1, 1, 4], [2, 0], [2, 5, 1, 0, 6, 6]])
def test_a_mixtures_probabilities_sum_to_one(history):
    model = Mixture([KneserNey(text, 3, 7) for text in texts(7)])
    rows = np.array([[*history, word] for word in range(7)])
    assert np.exp(model.log_probabilities(rows)[:, -1]).sum() == pytest.approx(1, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 60), st.sampled_from([0.05, 0.3, 3.0]))
def test_a_mixture_loses_at_most_log_n_to_the_best_model_of_a_document(seed, number, length, spread):
    """Vovk's bound, between any two restarts: the row's start, and after every 0."""
    rng = np.random.default_rng(seed)
    ps = np.maximum(rng.dirichlet([spread] * 6, number), 1e-9)
    models = [Fixed(*p) for p in ps / ps.sum(1, keepdims=True)]
    rows = np.stack([rng.choice(6, length, p=model.p) for model in models])  # each model's own text, zeros within
    mixed, each = Mixture(models).log_probabilities(rows), np.stack([m.log_probabilities(rows) for m in models])
    for row, words in enumerate(rows[:, 1:]):
        ends = np.flatnonzero(words == 0) + 1
        for some in np.split(np.arange(length - 1), ends):
            assert each[:, row, some].sum(-1).max() - mixed[row, some].sum() <= math.log(number) + 1e-9
