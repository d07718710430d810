"""Controls: variants, intervals and the sentences computed from them."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import SHARE, SHARED, Planted, children, planted, planted_run

from unifeat.lineage import LineageError, read
from unifeat.lineage.run import Run
from unifeat.studies import control_answers, controls, persistence, sae_recipes, variants

RUN = Run(read("smoke"), Path("nowhere"), Path("nowhere"))


def frame(x, excess, width=0.05, **more):
    excess = np.asarray(excess, float)
    return pd.DataFrame(dict(x=x, observed=excess / 2, ci_low=excess / 2 - width / 2, ci_high=excess / 2 + width / 2,
                             ceiling=0.5, ceiling_low=0.45, ceiling_high=0.55, null=0.0, excess=excess,
                             excess_low=excess - width, excess_high=excess + width) | more)


def test_a_variant_changes_what_it_names_and_nothing_else():
    one = variants.variant(RUN, sae=dict(k=4), model=dict(seed=7))
    want = dataclasses.replace(RUN.lineage, sae=dataclasses.replace(RUN.lineage.sae, k=4),
                               model=dataclasses.replace(RUN.lineage.model, seed=7))
    assert one.lineage == want and one.root == RUN.root and RUN.lineage.sae.k == 8
    with pytest.raises(TypeError):
        variants.variant(RUN, sae=dict(kk=4))


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


def compared(rows, difference=0.4, half=0.1, versus=None, count=3):
    """The frame with its first two rows told apart by `difference` +- half, and the others by nothing."""
    signs = np.array([-1, 1, *[0] * (len(rows) - 2)])
    return rows.assign(versus=versus or [*rows["x"][[1, 0]], *["?"] * (len(rows) - 2)], difference=signs * difference,
                       difference_low=signs * difference - half, difference_high=signs * difference + half, p=0.01,
                       comparisons=count, replicates=3)


def test_answers_say_what_the_corrected_differences_allow():
    told = control_answers.answer(compared(frame(["s", "l"], [0.2, 0.6])), "Size")
    assert told == ("Size: it matters; excess persistence differs most between 20 % [15, 25] at s (observed 10.0 %, "
                    "ceiling 50.0 %, null 0.0 %) and 60 % [55, 65] at l (observed 30.0 %, ceiling 50.0 %, null 0.0 %), "
                    "by 40.0 points [30.0, 50.0] (corrected for 3 comparisons; 3 SAE seeds).")
    assert "no difference can be told; excess" in control_answers.answer(
        compared(frame(["s", "l"], [0.2, 0.25]), 0.05), "Size")
    assert "too few variants" in control_answers.answer(frame(["a"], [0.2]), "Size")
    two = frame(["a", "b"], [0.2, 0.9], replicates=2, difference_low=np.nan)
    assert "no difference can be told over 2 SAE seeds, where it takes 3" in control_answers.answer(two, "Size")
    unmatched = compared(frame(["topk", "batchtopk", "relu"], [0.2, 0.25, 0.9], matched=[True, True, False]))
    told = control_answers.answer(unmatched, "Kind")
    assert "not at matched L0: relu, left out" in told and "90" not in told


def test_the_answer_on_initialization_compares_arms_within_an_edge():
    rows = frame(["independent", "shared"] * 2, [0.4, 0.8, 0.5, 0.52], edge=["base → lua"] * 2 + ["lua → merged"] * 2,
                 same_index=[0.0, 0.6, 0.0, 0.2])
    rows = rows.assign(difference=[-0.4, 0.4, -0.02, 0.02], difference_low=[-0.5, 0.3, -0.12, -0.08],
                       difference_high=[-0.3, 0.5, 0.08, 0.12], comparisons=2, replicates=3)
    text = control_answers.answer_initialization(rows)
    assert ("on 1 of 2 edges, most on base → lua, from 40 % [35, 45] with independent (observed 20.0 %, ceiling "
            "50.0 %, null 0.0 %) to 80 %") in text
    assert "40 % of the shared arm's pairs" in text and "by 40.0 points [30.0, 50.0]" in text


def test_three_seeds_tell_a_variant_that_differs_from_those_that_do_not(tmp_path):
    """Fewer shared features in the one child: its share is lower, and the table says against which it is most."""
    class Less(Planted):
        def features(self, name, seed):
            return planted(name, seed, 10 if name == "lua" and self.lineage.sae.k == 4 else SHARED)

    run = variants.variant(planted_run(tmp_path, kind=Less), sae=dict(seeds=(0, 1, 2)))
    less = variants.variant(run, sae=dict(k=4))
    again = variants.variant(run, sae=dict(k=6))
    found = [(dict(x=name) | row, estimate) for name, one in (("8", run), ("4", less), ("6", again))
             for row, estimate in [controls.judged(persistence.evidence(
                 dataclasses.replace(one, root=tmp_path / name), "base", "lua"), 0.8)]]
    rows = controls.table(found).set_index("x")
    assert rows["replicates"].eq(3).all() and rows["comparisons"].eq(3).all()
    assert rows.loc["4", "difference_high"] < 0 < rows.loc["8", "difference_low"]
    assert rows.loc[["8", "6"], "versus"].eq("4").all() and rows["p"].max() <= 0.05


def test_the_first_edge_is_measured_and_a_lineage_without_one_is_told_so(planted, tmp_path):
    assert variants.first_edge(planted) == ("base", "lua")
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
    assert "no difference can be told over 2 SAE seeds" in control_answers.answer_initialization(frame)


def test_each_domain_alone_and_all_in_equal_parts(planted):
    frame = controls.mixes(planted)
    assert frame["x"].tolist() == [*planted.lineage.domains, "balanced"] and (frame["observed"] > 0.5).all()


def test_densities_split_the_childs_features_into_fifths(planted):
    frame = controls.densities(planted)
    assert len(frame) == controls.BINS and frame["x"].is_monotonic_increasing
    assert frame["observed"].mean() == pytest.approx(SHARE) and (frame["ci_low"] <= frame["observed"]).all()


def test_another_root_is_trained_from_another_seed_and_a_given_one_is_not():
    again = variants.another_root(RUN, "base").lineage
    assert again.models["base"].train.seed == again.model.seed == RUN.lineage.model.seed + 1
    assert again.models["lua"] == RUN.lineage.models["lua"] and again.sae == RUN.lineage.sae
    assert variants.another_root(RUN, "lua") is None


def test_recipes_differ_from_the_lineages_in_one_thing():
    recipes = list(sae_recipes._recipes(RUN))
    reference = next(run.lineage.sae for name, _, run in recipes if name == "reference")
    fields = {"length": "tokens", "width": "width", "learning rate": "lr", "annealing": "k_anneal", "kind": "kind"}
    for varied, _, run in recipes:
        changed = {name for name, value in dataclasses.asdict(run.lineage.sae).items()
                   if value != dataclasses.asdict(reference)[name]}
        assert varied in ("adopted", "reference", "k") or changed <= {fields[varied]}


def recipes(*beyond, ceiling=0.9):
    """A frontier of the adopted recipe, the reference, width 2×, k 4 and the neurons, with these ceilings beyond."""
    rows = [("adopted", "", 0.97, 4), ("reference", "", 0.96, 4), ("width", "2×", 0.9, 2), ("k", "4", 0.99, 4),
            ("neurons", "", 0.81, 2)]
    frame = pd.DataFrame(rows, columns=["varied", "value", "ce_recovered_mean", "per_neuron"])
    frame["ceiling_beyond_neuron"] = [*beyond, np.nan]
    ends = {f"ceiling_beyond_neuron_{end}": frame["ceiling_beyond_neuron"] + more
            for end, more in (("low", -0.1), ("high", 0.1))}
    ends |= dict(ceiling_low=ceiling - 0.1, ceiling_high=ceiling + 0.1)
    return frame.assign(ceiling=[ceiling] * 4 + [1.0], shared=10.0, width=64, tokens=10**6, l0=4.0, **ends)


def test_the_frontiers_answer_says_whether_the_goal_is_met_and_what_moves_it():
    text = sae_recipes.answer(recipes(0.7, 0.6, 0.65, 0.4))
    assert text.startswith("Frontier: the goal (80% one-to-one at 95% of cross-entropy and 4 latents per neuron) is "
                           "not met beyond single neurons and met for all features; beyond single neurons, the adopted "
                           "recipe reaches 70% [60%, 80%], most of")
    assert "(unchanged: 60% beyond single neurons at 96.0%), k 4 moves it most, by -20 points to 40%" in text
    assert ("width 2× leaves it highest, by +5 points to 65% [55%, 75%] (cross-entropy -6.0 points, 2 latents per "
            "neuron, L0 4, 1 M activations)") in text
    assert text.endswith("The neurons themselves, never trained, stand at 100% by construction and recover 81.0% at L0 "
                         "4.")


@pytest.mark.parametrize("beyond, ceiling, wanted", [
    ((0.8, 0.6, 0.65, 0.4), 0.9, "is met beyond single neurons and met for all"),
    ((0.7, 0.6, 0.95, 0.4), 0.7, "is not met beyond single neurons and not met for all"),  # too narrow, recovers less
    ((0.7, 0.6, 0.65, 0.85), 0.5, "is met beyond single neurons and not met for all")])
def test_the_goal_asks_for_all_three_at_once(beyond, ceiling, wanted):
    assert wanted in sae_recipes.answer(recipes(*beyond, ceiling=ceiling))


def test_the_frontiers_answer_without_features_beyond_neurons_and_with_one_change_for_both():
    text = sae_recipes.answer(recipes(*[np.nan] * 4))
    assert "no recipe recovers enough with enough latents and has features" in text
    assert "No single change can be told" in text
    assert "an unknown share, for all features at 90% [" in text
    text = sae_recipes.answer(recipes(0, 0.6, 0.9, 0.6))
    assert "width 2× moves it most and leaves it highest, by +30 points" in text


def test_the_recipes_of_the_sites_are_trained_with_the_others(monkeypatch):
    jobs = []
    monkeypatch.setattr(sae_recipes.parallel, "side_by_side", lambda work, found, *rest: jobs.extend(found))
    sae_recipes.train(RUN)
    assert {name for config, name in jobs if config.hook == "blocks.0.hook_mlp_out"} == {"base", "lua"}
