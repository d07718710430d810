"""Lives of features: planted births, deaths and drifts are found, a random order breaks them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from unifeat.studies import checkpoint_answers, life_histories
from unifeat.studies.life_histories import lives, same_r


def test_r_of_a_latent_with_itself_is_numpys():
    rng = np.random.default_rng(0)
    x, y = (rng.exponential(1, (300, 5)) * (rng.random((300, 5)) < 0.3) for _ in range(2))
    y[:, 0] = 2 * x[:, 0]
    y[:, 4] = 0
    want = [np.corrcoef(x[:, j], y[:, j])[0, 1] for j in range(4)]
    assert same_r(sparse.csr_matrix(x), sparse.csr_matrix(y)) == pytest.approx([*want, 0], abs=1e-9)
    assert want[0] == pytest.approx(1)


def planted():
    """Four models and five latents: always the same; born at 1; dies after 1; another one at 2; never alive."""
    alive = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 0]], bool)
    r = np.ones((4, 4, 5))
    r[:2, 2:, 3] = r[2:, :2, 3] = 0.1
    return alive, r


def test_planted_lives_are_found():
    found = lives(*planted(), 0.8)
    assert found.values.tolist() == [[0, 0, 3, False], [1, 1, 2, False], [2, 0, 1, True], [3, 0, 1, True],
                                     [3, 2, 1, False]]


def test_a_random_order_breaks_what_drifts_slowly():
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.normal(0, 1, (8, 400, 30)), axis=0) + rng.normal(0, 4, (400, 30))
    chain = [(sparse.csr_matrix(np.maximum(one, 0)), torch.eye(30)) for one in [*steps, steps[-1]]]
    found = life_histories.followed(chain, np.zeros(400, int), 5)
    frames = [lives(found["alive"], found["r"], 0.9, order).assign(path="training", order=name, seed=0)
              for name, order in (("as trained", None), ("shuffled", life_histories.shuffled(8, 0)))]
    curve = life_histories.survival(pd.concat(frames)).set_index(["order", "lived"])["alive"]
    assert curve["as trained", 2] == 1 and curve["shuffled", 2] < 0.9
    assert (found["null"] == pytest.approx(1)) and found["cosine"] == pytest.approx(1)


def test_survival_is_kaplan_and_meiers_by_hand():
    """Lives of 0, 1 and 1 models that end, one of 1 and one of 3 that last: S(0) = 4/5, S(1) = 4/5 * 2/4."""
    frame = pd.DataFrame(dict(path="p", order="as trained", seed=0, lived=[0, 1, 1, 1, 3],
                              died=[True, True, True, False, False]))
    found = life_histories.survival(frame)
    assert found["alive"].tolist() == pytest.approx([0.8, 0.4, 0.4, 0.4]) and found["at_risk"].tolist() == [5, 4, 1, 1]
    assert ((found["low"] <= found["alive"]) & (found["alive"] <= found["high"])).all()


def test_cohorts_count_who_lasts():
    frame = pd.DataFrame(dict(path="p", order="as trained", seed=0, born=[0, 0, 0, 1],
                              died=[True, False, False, False]))
    found = life_histories.cohorts(pd.concat([frame, frame.assign(order="shuffled", died=True)]))
    assert found["alive_at_end"].tolist() == pytest.approx([2 / 3, 1]) and found["features"].tolist() == [3, 1]


def test_the_domain_of_a_latent_is_where_it_fires_most_often():
    f = np.zeros((40, 2))
    f[:10, 0] = f[30:, 1] = 1
    f[30:33, 0] = 1
    chain = [(sparse.csr_matrix(f), torch.eye(2))] * 3
    assert life_histories.followed(chain, np.repeat([0, 1], [20, 20]), 1)["domain"].tolist() == [0, 1]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_shuffled_order_is_no_order(count):
    order = life_histories.shuffled(count, 0)
    assert sorted(order) == list(range(count))
    assert count < 3 or len(set(np.sign(np.diff(order)))) == 2


def test_the_answer_gives_shares_with_ceiling_and_nulls():
    shared = pd.DataFrame([dict(step=step, features=features, side="parent", observed=0.1 * at, ceiling=0.4, null=0.05,
                                null_untrained=0.02) for at, step in enumerate((0, 10, 100, 1000), 1)
                           for features in ("all", "beyond_both")])
    survival = pd.DataFrame([dict(path="training", order=order, seed=0, lived=2, alive=alive)
                             for order, alive in (("as trained", 0.6), ("shuffled", 0.2))])
    cohorts = pd.DataFrame(dict(path="training", seed=0, born=[0, 1, 2], alive_at_end=[0.1, 0.7, 1]))
    drift = pd.DataFrame(dict(path=["training"], seed=0, same=0.5, null_same=0.9))
    joined = pd.DataFrame(dict(task="x", features_of_the_end=[0.1, 0.2, 0.3], gain_nats=[3, 2, 1]))
    said = checkpoint_answers.answer_features(shared, survival, cohorts, drift, joined)
    assert "step 1,000 40% of 40%" in said and "60% of lives pass on to two models or more" in said
    assert "in a random order of the models 20%" in said and "90% where the model does not change" in said
    assert "first checkpoint 10% last to the end, of those that begin at the last but one 70%" in said
    assert "rho -1.00" in said and checkpoint_answers.answer_features(shared[:0], *[None] * 4) == ""
