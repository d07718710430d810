"""Which features the current token alone decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifeat.matching import token_features

TOKENS = np.tile([0, 1, 2, 1], 50)
DOCUMENT, DOMAIN = np.repeat(np.arange(20), 10), np.repeat([0, 1], 100)
LEARNING = token_features.halves(DOCUMENT, DOMAIN)


def test_look_up_has_r_1_and_what_the_context_decides_has_less():
    look, half = np.array([0.0, 2.0, 5.0])[TOKENS], np.where(np.arange(200) % 8 < 4, (TOKENS == 1) * 1.0, 0)
    noise = np.random.default_rng(0).random(200)
    r = token_features.token_r(np.stack([look, half, noise, np.zeros(200)], axis=1), TOKENS, LEARNING)
    assert r[0] == pytest.approx(1) and 0.3 < r[1] < 0.8 and abs(r[2]) < 0.3 and np.isnan(r[3])


def test_nothing_is_learned_on_the_rows_that_are_judged():
    """Every row of one document is a token of its own: its mean is unknown on the other half, so no r is left."""
    f = np.random.default_rng(1).random((200, 1))
    assert np.isnan(token_features.token_r(f, np.arange(200), LEARNING)).all()


@given(st.integers(0, 1000), st.integers(2, 9))
def test_r_is_that_of_the_definition(seed, kinds):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, kinds, 200)
    f = np.where(rng.random((200, 3)) < 0.4, rng.random((200, 3)) * (1 + tokens[:, None] % 3), 0)
    r = token_features.token_r(f, tokens, LEARNING)
    for j in range(3):
        known = {v: f[LEARNING & (tokens == v), j].mean() for v in set(tokens[LEARNING].tolist())}
        mean = [known.get(v, f[LEARNING, j].mean()) for v in tokens[~LEARNING].tolist()]
        assert r[j] == pytest.approx(np.corrcoef(mean, f[~LEARNING, j])[0, 1], abs=1e-9)


def test_without_features_there_is_nothing():
    assert token_features.token_r(np.zeros((200, 0)), TOKENS, LEARNING).shape == (0,)
