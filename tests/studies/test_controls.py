"""Controls: variants, intervals and the sentences computed from them."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import SHARE, children, planted_run

from unifeat.lineage import LineageError, read
from unifeat.lineage.run import Run
from unifeat.studies import controls, sae_recipes

RUN = Run(read("smoke"), Path("nowhere"), Path("nowhere"))


def frame(x, excess, width=0.05, **more):
    excess = np.asarray(excess, float)
    return pd.DataFrame(dict(x=x, observed=excess / 2, ci_low=excess / 2 - width / 2, ci_high=excess / 2 + width / 2,
                             ceiling=0.5, ceiling_low=0.45, ceiling_high=0.55, null=0.0, excess=excess,
                             excess_low=excess - width, excess_high=excess + width) | more)


def test_a_variant_changes_what_it_names_and_nothing_else():
    one = controls.variant(RUN, sae=dict(k=4), model=dict(seed=7))
    want = dataclasses.replace(RUN.lineage, sae=dataclasses.replace(RUN.lineage.sae, k=4),
                               model=dataclasses.replace(RUN.lineage.model, seed=7))
    assert one.lineage == want and one.root == RUN.root and RUN.lineage.sae.k == 8
    with pytest.raises(TypeError):
        controls.variant(RUN, sae=dict(kk=4))


@pytest.mark.parametrize("l0, k", [(8.3, 8), (9.0, 7), (6.0, 11), (100.0, 1)])
def test_a_kind_that_misses_its_l0_is_trained_with_another_k(monkeypatch, l0, k):
    monkeypatch.setattr(controls, "_sae_quality", lambda run: dict(l0=l0))
    found = controls._matched(RUN, 8).lineage.sae
    assert found.k == k and found.k_first >= k and dataclasses.replace(found, k=8, k_first=32) == RUN.lineage.sae


def test_wilson_against_its_definition():
    """The ends solve |share - p| = z sqrt(p (1 - p) / n)."""
    for end in controls.wilson(0.2, 50):
        assert abs(0.2 - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / 50))
    assert controls.wilson(0.0, 10)[0] == pytest.approx(0) and controls.wilson(0.0, 10)[1] > 0.2


def test_answers_say_what_the_intervals_allow():
    apart = controls.answer(frame([1, 16], [0.2, 0.6]), "Size")
    assert apart == ("Size: it matters; excess persistence lies between 20 % [15, 25] at 1 (observed 10.0 %, ceiling "
                     "50.0 %, null 0.0 %) and 60 % [55, 65] at 16 (observed 30.0 %, ceiling 50.0 %, null 0.0 %).")
    assert "no difference can be told" in controls.answer(frame(["a", "b"], [0.2, 0.25]), "Size")
    assert "too few variants" in controls.answer(frame(["a"], [0.2]), "Size")
    unmatched = frame(["topk", "relu", "batchtopk"], [0.2, 0.9, 0.25], matched=[True, False, True])
    assert "not at matched L0: relu, left out" in controls.answer(unmatched, "Kind") and "90" not in \
        controls.answer(unmatched, "Kind")


def test_the_answer_on_initialization_compares_arms_within_an_edge():
    rows = frame(["independent", "shared"] * 2, [0.4, 0.8, 0.5, 0.52], edge=["base → lua"] * 2 + ["lua → merged"] * 2,
                 same_index=[0.0, 0.6, 0.0, 0.2])
    text = controls.answer_initialization(rows)
    assert ("on 1 of 2 edges, most on base → lua, from 40 % [35, 45] with independent (observed 20.0 %, ceiling "
            "50.0 %, null 0.0 %) to 80 %") in text
    assert "40 % of the shared arm's pairs" in text


def test_the_first_edge_is_measured_and_a_lineage_without_one_is_told_so(planted, tmp_path):
    assert controls.first_edge(planted) == ("base", "lua")
    found = controls.measure(planted)
    assert found["observed"] == pytest.approx(SHARE) and found["excess"] == pytest.approx(1)
    taus = controls.thresholds(planted, (0.5, 0.9))
    assert taus["x"].tolist() == [0.5, 0.9] and taus["observed"].round(6).eq(SHARE).all()
    with pytest.raises(LineageError, match="planted has no edge; add a model with a parent to the lineage.$"):
        controls.thresholds(planted_run(tmp_path, children({})))


def test_initialization_is_asked_of_every_edge(planted):
    frame = controls.initialization(planted)
    assert frame["edge"].unique().tolist() == [f"{a} → {b}" for a, b in planted.lineage.edges]
    assert frame["x"].tolist() == ["independent", "shared"] * len(planted.lineage.edges)
    assert "differs beyond its intervals on 0 of 4 edges" in controls.answer_initialization(frame)


def test_each_domain_alone_and_all_in_equal_parts(planted):
    frame = controls.mixes(planted)
    assert frame["x"].tolist() == [*planted.lineage.domains, "balanced"] and (frame["observed"] > 0.5).all()


def test_densities_split_the_childs_features_into_fifths(planted):
    frame = controls.densities(planted)
    assert len(frame) == controls.BINS and frame["x"].is_monotonic_increasing
    assert frame["observed"].mean() == pytest.approx(SHARE) and (frame["ci_low"] <= frame["observed"]).all()


def test_another_root_is_trained_from_another_seed_and_a_given_one_is_not():
    again = controls.another_root(RUN, "base").lineage
    assert again.models["base"].train.seed == again.model.seed == RUN.lineage.model.seed + 1
    assert again.models["lua"] == RUN.lineage.models["lua"] and len(again.sae.seeds) == 2
    assert controls.another_root(RUN, "lua") is None


def test_recipes_differ_from_the_lineages_in_one_thing():
    recipes = list(sae_recipes._recipes(RUN))
    reference = next(run.lineage.sae for name, _, run in recipes if name == "reference")
    fields = {"length": "tokens", "width": "width", "learning rate": "lr", "annealing": "k_anneal", "kind": "kind"}
    for varied, _, run in recipes:
        changed = {name for name, value in dataclasses.asdict(run.lineage.sae).items()
                   if value != dataclasses.asdict(reference)[name]}
        assert varied in ("adopted", "reference", "k") or changed <= {fields[varied]}


def test_the_frontiers_answer_names_the_best_single_change():
    rows = [("adopted", "", 0.7, 0.97), ("reference", "", 0.6, 0.96), ("width", "2×", 0.75, 0.9), ("k", "4", 0.5, 0.99)]
    frame = pd.DataFrame(rows, columns=["varied", "value", "ceiling", "ce_recovered_mean"]).assign(
        ceiling_low=0.5, ceiling_high=0.9, shared=10.0, width=64, tokens=10**6)
    text = sae_recipes.answer(frame)
    assert text.startswith("Frontier: no recipe meets the goal") and "width 2× gives the highest ceiling, 75%" in text
    assert "the goal is met" in sae_recipes.answer(frame.assign(ceiling=0.8))
