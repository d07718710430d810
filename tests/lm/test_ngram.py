"""The Kneser-Ney baseline against its formula."""

import math

import numpy as np
import pytest

from unifeat.lm.ngram import KneserNey, evaluate
from unifeat.lm.plain import kneser_ney


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
