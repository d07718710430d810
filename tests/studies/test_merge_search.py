"""Merging by development text: every method finds a planted optimum within the budget, and never sees other text."""

import numpy as np
import pandas as pd
import pytest
import torch

from unifeat.merging import zoo
from unifeat.studies import merge_answers, merge_features, merge_search
from unifeat.studies.merge_search import METHODS, Pool


def state(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"model.embed.weight": torch.randn(6, 4, generator=generator),
            "model.layers.0.mlp.up.weight": torch.randn(4, 4, generator=generator)}


ROOT, A, B = (state(seed) for seed in range(3))
MIDDLE = zoo.linear([A, B])
POOL = Pool(ROOT, A, B, MIDDLE, 64, [zoo.linear([A, A])] * 4, [{}] * 4)


class Near:
    """How near a state dict is to a target; counts its calls."""

    def __init__(self, target):
        self.target, self.calls = target, 0

    def __call__(self, one):
        self.calls += 1
        return -sum(float((one[name] - value).square().sum()) for name, value in self.target.items())


def searched(method, target):
    fitness = Near(target)
    found = METHODS[method](POOL, fitness, np.random.default_rng(0))
    return found, fitness


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_to_the_budget_and_gives_a_whole_model(method):
    found, fitness = searched(method, zoo.linear([ROOT, A, B], [1, 2, 3]))
    assert fitness.calls <= POOL.budget and found.keys() == ROOT.keys()
    assert all(torch.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("method", [name for name in METHODS if name not in merge_search.SIMPLE
                                    and "fisher" not in name and "regmean" not in name])
def test_a_search_is_no_worse_than_what_it_starts_from(method):
    found, fitness = searched(method, zoo.linear([A, B], [1, 3]))
    assert fitness(found) >= min(map(fitness, POOL.members)) - 1e-6


def test_grids_and_cma_find_what_they_can_express():
    for method, target in (("simplex_grid", zoo.linear([ROOT, A, B], [1, 3, 5])),
                           ("cma", merge_search.by_part(POOL, {"embed": [0.6, 0.4], "mlp": [0.3, 0.7]}))):
        found, fitness = searched(method, target)
        assert fitness(found) > 0.2 * fitness(MIDDLE), method


def test_greedy_soup_by_hand():
    found, _ = searched("greedy_soup", zoo.linear([A, MIDDLE]))
    want = zoo.linear([A, MIDDLE])
    assert all(torch.allclose(found[name], want[name]) for name in want)


def test_weights_by_part_are_task_arithmetic_of_each_part():
    got = merge_search.by_part(POOL, {"embed": [1.0, 0.0], "mlp": [0.0, 0.5]})
    assert torch.allclose(got["model.embed.weight"], A["model.embed.weight"])
    name = "model.layers.0.mlp.up.weight"
    assert torch.allclose(got[name], ROOT[name] + 0.5 * (B[name] - ROOT[name]))


def test_what_orders_the_merges_is_found_and_a_noise_is_not():
    rng, rows = np.random.default_rng(0), []
    for merge in range(14):
        for parent in ("a", "b"):
            kept = rng.uniform(0.4, 1)
            rows += [dict(merge=merge, parent=parent, side="both", features=name, kept=kept, observed=share,
                          weight_distance=rng.uniform())
                     for name, share in (("all", kept**2), ("beyond_both", rng.uniform()))]
    found = merge_features.prediction(pd.DataFrame(rows)).set_index("predictor")
    assert found["rho"]["features"] == pytest.approx(1) and found["rho_low"]["features"] == pytest.approx(1)
    assert found["rho_low"]["beyond"] < 0 < found["rho_high"]["beyond"]
    assert found["rho_low"]["features - distance"] > 0


def table(evolver_test=4.25, seeds=3):
    """searches.csv of a single domain: simple models at 4.3 on both halves, Evolver by the code's rule at 4.3 too."""
    rows = []
    for seed in range(seeds):
        for method in METHODS:
            for split in ("dev", "test"):
                loss = 4.2 if method == "cma" else 4.3
                if method.startswith("evolver_paper"):
                    loss = {"dev": 4.2, "test": evolver_test + 0.002 * seed}[split]
                rows += [dict(model_seed=seed, method=method, split=split, domain=domain, loss_nats=loss)
                         for domain in ("x", "macro")]
    return pd.DataFrame(rows)


def test_gains_by_hand():
    found = merge_answers.gains(table()).set_index(["rule", "model_seed"])
    assert found.loc[("evolver_paper", 1)].tolist() == pytest.approx([0.1, 0.048, -0.052, 0])
    assert found.loc[("evolver_code", 0)].tolist() == pytest.approx([0, 0, -0.1, 0])


def test_the_answer_says_whether_the_goal_is_met():
    paper, code = merge_answers.answer(table(4.24)).split("Evolver by the ")[1:]
    assert "0.01 or more in 3 of 3 seeds" in paper and "text in 3, so the goal of two in three is met" in paper
    assert "+0.058 [+0.053, +0.063]" in paper and "it gains -0.042 [-0.047, -0.037]" in paper
    assert "0.01 or more in 0 of 3 seeds" in code and "is missed" in code
    assert "in 0, so the goal of two in three is missed" in merge_answers.answer(table(4.27)).split("Evolver")[1]
    assert merge_answers.answer(table()[:0]) == ""


def test_the_features_answer_names_the_better_order():
    rng, rows = np.random.default_rng(0), []
    for merge in range(14):
        for parent in ("a", "b"):
            kept = rng.uniform(0.4, 1)
            rows += [dict(merge=merge, parent=parent, side="both", features=name, kept=kept, observed=kept / 2,
                          weight_distance=rng.uniform(), ceiling=0.6, null=0.1, null_untrained=0.2)
                     for name in ("all", "beyond_both")]
    said = merge_answers.answer_features(pd.DataFrame(rows))
    assert "14 merges of the same parents" in said and "better than nearness in weights" in said and "+1.00" in said
    assert merge_answers.answer_features(pd.DataFrame(rows)[:0]) == ""


def test_a_merge_that_surely_lost_more_than_the_floor_is_named():
    rows = [dict(merge=name, lost=lost, lost_low=lost - 0.02, lost_floor=0.2, novel=0.5, novel_floor=0.6)
            for name, lost in (("x", 0.21), ("y", 0.3), ("y", 0.21), ("z", 0.3), ("z", 0.4))]
    said = merge_answers.answer_lost(pd.DataFrame(rows))
    assert "21% (x) to 35% (z), where a second SAE of the parent itself misses 20%; z lost more" in said
    assert "no merge lost more" in merge_answers.answer_lost(pd.DataFrame(rows[:3]))


def test_the_worst_merge_lost_most_over_its_pairs_of_seeds():
    frame = pd.DataFrame(dict(merge=["x", "x", "y", "y"], lost=[0.1, 0.5, 0.2, 0.3]))
    assert merge_features.worst(frame) == "x"
