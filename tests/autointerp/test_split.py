"""Explanation scores of token features beside those of all others."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from unifeat.autointerp import groups, split


def scored(token, simulation, detection=0.5, group="all", kind="features"):
    return pd.DataFrame(dict(group=group, kind=kind, token=token, simulation=simulation, detection=detection))


def test_the_interval_of_a_mean_against_scipy():
    values = np.random.default_rng(0).random(12)
    want = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert split.mean(values) == pytest.approx((values.mean(), *want))
    assert split.mean(np.array([0.3]))[0] == 0.3 and np.isnan(split.mean(np.array([0.3]))[1:]).all()
    assert np.isnan(split.mean(np.zeros(0))).all()


def test_groups_are_split_and_missing_scores_left_out():
    frame = pd.concat([scored([True, True, False], [0.2, 0.4, 0.9], [0.5, np.nan, 0.6]),
                       scored([False], [0.1], group="neurons", kind="control")])
    rows = split.split(frame).set_index(["group", "token", "score"])
    assert list(split.split(frame).columns) == split.COLUMNS and len(rows) == 8
    assert rows.loc[("all", True, "simulation"), ["n", "mean"]].tolist() == [2, pytest.approx(0.3)]
    assert rows.loc[("all", True, "detection"), ["n", "mean"]].tolist() == [1, 0.5]
    assert rows.loc[("neurons", True, "simulation"), "n"] == 0 and rows.loc[("neurons", False, "simulation"), "n"] == 1
    wide = split.split(scored([True, True], [0.1, 1.0], [0.0, 1.0]))[["ci_low", "ci_high"]]
    assert wide[:2].to_numpy().tolist() == [[-1, 1], [0, 1]]
    assert rows["kind"].loc["neurons"].eq("control").all()


def test_features_are_marked_by_model_and_seed_and_controls_by_their_activations(monkeypatch):
    """Latents 1, 3 and 4 of the SAE are live, and its token decides 3; the control's first latent is a look-up."""
    token, n = np.tile(np.arange(8), 50), 400
    own = np.where(token == 2, 1.0, 0.0), np.random.default_rng(0).random(n)
    monkeypatch.setattr(groups, "activations", lambda run, name: sparse.csr_matrix(np.stack(own, 1)))
    run = SimpleNamespace(
        lineage=SimpleNamespace(names=("m",), comparison=SimpleNamespace(tau=0.8)), live=lambda *which: [1, 3, 4],
        features=lambda *which: sparse.csr_matrix((n, 5)),
        subsets=lambda name, seed: dict(beyond_token=np.array([True, seed != 1, True])),
        comparison_text=dict(token=token, document=np.arange(n) // 10, domain=np.zeros(n, int)))
    frame = pd.DataFrame([("m", 1, 3), ("neurons", 0, 0), ("m", 1, 4), ("m", 0, 3), ("neurons", 0, 1), ("m", 1, 1)],
                         columns=["model", "seed", "feature"])
    found = split.marked(run, frame)
    assert found["token"].tolist() == [True, True, False, False, False, False] and found.columns[-1] == "token"


def test_the_answer_says_what_the_intervals_allow():
    near, far = np.linspace(0, 0.1, 20), np.linspace(0.6, 0.7, 20)
    frame = scored([True] * 20 + [False] * 20, [*far, *near], [*near, *near])
    text = split.answer(split.split(frame))
    assert text.startswith("all: the current token decides 20 of 40 scored; simulation: token features score higher, "
                           "0.65 [0.64, 0.66] against 0.05 [0.04, 0.06] of the others; detection: no difference can be")
    assert "simulation: token features score lower" in split.answer(split.split(
        frame.assign(token=~frame["token"].to_numpy())))
    assert split.answer(split.split(frame[:20])).count("too few features") == 2
