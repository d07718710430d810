import math

import pytest

from unifeat.lineage import settings
from unifeat.pipeline import estimate

P = settings.load("smoke")


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
    assert found["models"] == (P.base.tokens + P.lua.tokens + P.stories.tokens) / 1000
    saes, comparisons = 4 * len(P.sae.seeds) + 1, 5 * 2**2 + 4  # five edges of two seeds, one pair of twins a model
    assert found["SAEs"] == pytest.approx(saes * P.sae.tokens / 1000 + 5.5 * P.sae.tokens / forward)
    assert len(P.sae.seeds) == 2 and found["matching"] == 2 * comparisons
