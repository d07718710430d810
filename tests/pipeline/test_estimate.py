import math

import pytest

from unifeat.lineage import read
from unifeat.pipeline import estimate

P = read("smoke")


def test_every_part_is_tried_and_costs_something():
    found = estimate.estimate(P)
    assert all(0 < value < math.inf for value in found["seconds"].values()) and found["memory"] > found["disk"] > 0


def test_parts_are_what_was_tried_times_how_often_it_runs(monkeypatch):
    monkeypatch.setattr(estimate, "_seconds", lambda run, repeats: 1.0)
    monkeypatch.setattr(estimate, "_language_model", lambda model, p: 1000.0)
    monkeypatch.setattr(estimate, "_sae", lambda p, d, trainers: 1e-3)
    monkeypatch.setattr(estimate, "_comparison", lambda p: 2.0)
    monkeypatch.setattr(estimate.torch, "get_num_threads", lambda: 1)
    found, forward = estimate.estimate(P)["seconds"], 16 * P.corpora.context  # tokens in the one second
    assert found["models"] == sum(one.training.tokens for one in P.models.values() if one.training) / 1000
    saes, comparisons = 4 * len(P.sae.seeds) + 1, 5 * 2**2 + 4  # five pairs of two seeds, one pair of twins a model
    assert found["SAEs"] == pytest.approx(saes * P.sae.tokens / 1000 + 5.5 * P.sae.tokens / forward)
    assert len(P.sae.seeds) == 2 and found["matching"] == 2 * comparisons


def test_a_lineage_of_given_models_has_nothing_to_train(monkeypatch, tmp_path):
    monkeypatch.setattr(estimate, "_seconds", lambda run, repeats: 1.0)
    (tmp_path / "own.toml").write_text('extends = "smoke"\n[models.a]\ngiven = "a"\n')
    found = estimate.estimate(read(tmp_path / "own.toml"))
    assert found["seconds"]["models"] == 0 and found["seconds"]["SAEs"] > 0
