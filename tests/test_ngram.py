import math
from collections import Counter

import numpy as np
import pytest

from unifeat.lm.ngram import KneserNey, evaluate


def reference(tokens, order, vocab):
    """Interpolated Kneser-Ney by dictionaries, straight from the formula."""
    grams = {k: Counter(tuple(tokens[i:i + k]) for i in range(len(tokens) - k + 1)) for k in range(1, order + 1)}
    tables = {order: grams[order]} | {k: Counter(gram[1:] for gram in grams[k + 1]) for k in range(1, order)}

    def p(word, history, k):
        if k == 0:
            return 1 / vocab
        table = tables[k]
        n1, n2 = (sum(v == n for v in table.values()) for n in (1, 2))
        discount = n1 / (n1 + 2 * n2) if n1 else 0.5
        history = history[len(history) - (k - 1):]
        follow = {gram[-1]: v for gram, v in table.items() if gram[:-1] == history and v}
        lower = p(word, history[1:], k - 1)
        if not follow:
            return lower
        return (max(follow.get(word, 0) - discount, 0) + discount * len(follow) * lower) / sum(follow.values())

    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("vocab", [3, 30])
def test_equals_the_formula(order, vocab):
    rng = np.random.default_rng(order)
    tokens = (rng.integers(0, vocab, 300) ** 2) % vocab
    model, p = KneserNey(tokens, order, vocab), reference(tokens.tolist(), order, vocab)
    rows = rng.integers(0, vocab, (4, 9))
    want = [[math.log(p(row[i], tuple(row[max(0, i - order + 1):i]), min(order, i + 1))) for i in range(1, 9)]
            for row in rows.tolist()]
    np.testing.assert_allclose(model.log_probabilities(rows), want, rtol=1e-10)


def test_probabilities_sum_to_one():
    rng = np.random.default_rng(0)
    model = KneserNey(rng.integers(0, 7, 500), 3, 7)
    rows = np.array([[2, 5, word] for word in range(7)])
    assert np.exp(model.log_probabilities(rows)[:, 1]).sum() == pytest.approx(1)


def test_bits_per_byte_by_hand():
    model = KneserNey(np.array([0, 1, 0, 1, 0, 1, 1]), 2, 2)
    out = evaluate(model, np.array([[0, 1, 1]]), np.array([0, 3]))
    nats = -model.log_probabilities(np.array([[0, 1, 1]])).sum()
    assert out["tokens"] == 2 and out["bytes"] == 6
    assert out["bits_per_byte"] == pytest.approx(nats / math.log(2) / 6)
