"""The card of the SAEs, the ladder, the swap, the verdicts, the controls, and explanations."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from plot_frames import (
    SHAPES,
    arms,
    carried,
    changed,
    checkpoints,
    controls,
    density,
    doses,
    drawn,
    functions,
    halves,
    histories,
    history,
    ladder,
    merges_kept,
    saes,
    scores,
    searches,
    swap,
    verdicts,
)
from plot_reading import faults, read

from unifeat import plots
from unifeat.plots import style
from unifeat.plots.saes import _ladder_color, _readable
from unifeat.support.theme import GREY

DIAMOND = SHAPES["diamond"]


def test_features_that_never_fire_leave_no_nan():
    silent = density(DIAMOND).assign(log10_density=-np.inf)
    table = saes(DIAMOND).assign(ce_recovered_mean=np.nan, fvu=np.nan, arm="independent")
    rungs = ladder(DIAMOND)
    rungs.loc[rungs["comparison"] == "root → left", "r"] = np.nan
    rungs.loc[rungs["comparison"] == "root → right", "r"] = 0.25
    drawn = [plots.sae_card(table, silent, None, DIAMOND), plots.ladder(rungs, DIAMOND),
             plots.ladder(rungs.assign(r=np.nan), DIAMOND), plots.ladder(rungs[:0], DIAMOND),
             plots.swap(swap(DIAMOND)[:0], DIAMOND)]
    for fig in drawn:
        assert "nan" not in read(fig).lower()
        style._render(fig, "pdf")
    assert "no live features" in read(drawn[1]) and "no latent fires" in read(drawn[0])
    assert "1,696 never fire" in read(drawn[0]) and len(drawn[0].axes) == 5 and "no SAE" in read(drawn[4])


def test_the_card_names_models_where_their_densities_leave_room():
    """Names in the panel lie above every line of its left half."""
    for name in ("diamond", "two roots", "alone"):
        ax = drawn("sae_card", name).axes[4]
        low, high = ax.get_xlim()
        points = [point for line in ax.lines for point in zip(*line.get_data(), strict=True)]
        highest = max(y for x, y in points if x < low + 0.42 * (high - low))
        assert highest / ax.get_ylim()[1] <= 0.96 - 0.095 * len(SHAPES[name].models)
    assert not drawn("sae_card", "star").axes[4].texts  # a legend above instead


def test_a_model_without_an_sae_has_an_empty_row():
    fig = plots.sae_card(saes(DIAMOND).query("model != 'left'"), density(DIAMOND), history(DIAMOND), DIAMOND)
    assert "Left" in read(fig) and not faults(fig)


@pytest.mark.parametrize("comparison, text", [
    ("root→left", "Root → Left"), ("root -> left", "Root → Left"), ("neurons: left → merge", "neurons: Left → Merge"),
    ("untrained → left", "untrained → Left"), ("left", "Left"), ("root → left, rotated", "Root → Left, rotated"),
    ("left, two seeds", "Left, two seeds"), ("no model at all", "no model at all"), ("", "")])
def test_a_rung_is_written_with_labels(comparison, text):
    assert _readable(DIAMOND, comparison) == text


def test_names_within_names_are_told_apart():
    """`m1` is not looked for inside `m10`, nor the word of a rung taken for a model of that name."""
    look = SHAPES["chain"]
    assert _readable(look, "m10 → m1") == "m10 → M1"
    assert _ladder_color(look, "edges", "m1 → m2") == style.tint(look.color("m2"), 0.7)
    assert _ladder_color(look, "seed ceiling", "m2") == style.tint(look.color("m2"), 0.35)
    assert _ladder_color(look, "null: rotated", "m1 → m2, rotated") == style.tint(GREY, 0.5)


def test_every_verdict_shows_its_ceiling_and_null_on_every_edge():
    """Per panel, edge and group of features: a line from null to ceiling, and the observed mark between."""
    panels = drawn("verdicts").axes[4:]
    assert len(panels) == 5
    for ax in panels:
        marks = [(line.get_marker(), float(line.get_xdata()[0])) for line in ax.lines if line.get_marker() != "None"]
        assert sorted(marks) == sorted([("D", 75.0), ("o", 40.0)] * 8 + [("|", 36.0), ("|", 0.0)] * 4)


def test_edges_into_one_child_differ_in_their_dashes():
    for name in ("diamond", "two roots", "eight"):
        look = SHAPES[name]
        handles = drawn("verdicts", name).subfigs[0].legends[0].get_lines()[:len(look.edges)]
        seen = [(handle.get_color(), handle.get_linestyle()) for handle in handles]
        assert len(set(seen)) == len(look.edges)
        assert [color for color, _ in seen] == [look.color(child) for _, child in look.edges]


def test_verdicts_with_gaps_and_without_edges(tmp_path):
    found, causal, shares = verdicts(DIAMOND)
    edge = ("root", "left")
    gaps = pd.DataFrame(dict(r=[0.1, 0.9], decoder=[0.2, 0.8], encoder=0.1, logits=np.nan))
    effects = pd.DataFrame(dict(r=[0.1, 0.9], agreement=[np.nan, 0.8], random=0.0))
    shares[["ceiling", "null", "ci_low", "ci_high"]] = np.nan
    fig = plots.verdicts({edge: gaps}, {edge: effects}, shares, DIAMOND)
    assert "nan" not in read(fig) and all(path.stat().st_size > 1000 for path in plots.write(fig, tmp_path / "v"))
    assert plots.verdicts({}, {}, shares[:0], DIAMOND).sentence == \
        "The figure of verdicts needs a parent and its child, and this lineage has none."


def test_every_edge_shows_three_shares_in_its_childs_color_beside_their_ceilings_and_nulls():
    frame, ax = functions(DIAMOND), drawn("functional").axes[0]
    marks = [line for line in ax.lines if line.get_marker() in "os^"]
    for y, edge in enumerate(DIAMOND.edges):
        here = [line for line in marks if abs(line.get_ydata()[0] - y) < 0.5]
        filled = [line for line in here if line.get_markerfacecolor() != "white"]
        rows = frame[frame["edge"] == " → ".join(edge)]
        assert [line.get_color() for line in filled] == [DIAMOND.color(edge[1])] * 3
        assert [float(line.get_xdata()[0]) for line in filled] == pytest.approx(100 * rows["observed"].to_numpy())
        assert sorted(float(line.get_xdata()[0]) for line in here if line not in filled) == pytest.approx([50, 58, 72])
        assert len({line.get_marker() for line in filled}) == 3
    ticks = sorted(float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "|")
    assert ticks == pytest.approx([2] * 4 + [4] * 4)  # the greater of both; by activations there is none
    spans = {tuple(np.round(line.get_xdata(), 6)) for line in ax.lines if len(line.get_xdata()) == 2}
    assert {tuple(row) for row in (100 * frame[["ci_low", "ci_high"]]).to_numpy().round(6)} <= spans


def test_functions_without_twins_and_without_pairs():
    frame = functions(DIAMOND)
    frame[["ceiling", "ceiling_low", "ceiling_high", "null", "next_best"]] = np.nan
    fig = plots.functional(frame, DIAMOND, note="a note")
    assert "nan" not in read(fig) and not faults(fig)
    style._render(fig, "pdf")
    assert plots.functional(frame[:0], DIAMOND).sentence.startswith("The figure of functions needs a parent")


def test_the_ablation_of_twins_is_one_dotted_line_and_no_edge():
    ax = drawn("verdicts").axes[3]
    dotted = [line for line in ax.lines if line.get_color() == style.ink("#222222") and len(line.get_xdata()) > 2]
    middle = dict(zip(*dotted[0].get_data(), strict=True))
    assert len(dotted) == 1 and middle[0.55] == pytest.approx(0.2 + 0.8 * 0.55, abs=0.05)
    assert "two SAEs of one model" in read(drawn("verdicts")) and "Left → Left" not in read(drawn("verdicts"))


@pytest.mark.parametrize("frame, log", [
    (controls([1, 2, 16]), True), (controls(["relu", "topk"], excess=[0.2, np.nan]), False), (arms(DIAMOND), False),
    (controls([0.3, 0.5], excess=[0.1, -0.2]), False)])
def test_controls_of_all_shapes(frame, log, tmp_path):
    fig = plots.control(frame, "what x is", DIAMOND, note="a note", log=log)
    assert "nan" not in read(fig) and not faults(fig)
    assert all(path.stat().st_size > 1000 for path in plots.write(fig, tmp_path / "one"))


def test_controls_have_the_child_s_color_and_the_domains_labels():
    fig = drawn("mixes")
    assert fig.axes[0].lines[1].get_color() == DIAMOND.color("left")
    assert {"Scripts", "balanced"} <= set(read(fig).split("\n"))
    assert plots.control(controls([]), "x", DIAMOND).sentence.startswith("This control compares")


def test_groups_of_explanations_have_the_colors_of_their_models():
    """All, persisting, emerged and vanished: of the model, of its child, of no model, of its parent."""
    def groups(name):
        return [to_hex(line.get_color()).upper() for line in drawn("explanations", name).axes[2].lines]

    first, second, third, fourth, *controls_ = groups("diamond")
    assert (first, second, fourth) == (DIAMOND.color("left"), DIAMOND.color("merge"), DIAMOND.color("root"))
    assert third not in {look.color for look in DIAMOND.models.values()} and set(controls_) == {GREY}
    star = SHAPES["star"]
    mine, emerged, vanished, *_ = groups("star")
    assert (mine, vanished) == (star.color("m0"), star.color("root"))
    assert emerged not in {look.color for look in star.models.values()}
    assert groups("alone")[0] == SHAPES["alone"].color("only")


def test_explanations_with_gaps_and_without_any():
    frame = scores(DIAMOND)
    frame.loc[frame["group"].str.startswith("emerged"), ["simulation", "detection"]] = np.nan
    fig = plots.explanations(frame, DIAMOND, "note")
    assert "Explainer: lexical. note" in read(fig) and "Emerged" not in read(fig)
    legend = fig.axes[0].get_legend()
    wanted = [DIAMOND.color("left"), DIAMOND.color("merge"), DIAMOND.color("root"), GREY, GREY]
    assert [to_hex(text.get_color()) for text in legend.get_texts()] == [to_hex(style.ink(color)) for color in wanted]
    assert plots.explanations(frame[:0], DIAMOND).sentence.startswith("Figure 6 needs features")


def test_explanations_split_by_the_token_have_two_marks_a_group():
    fig, frame = drawn("explanations"), halves(scores(DIAMOND))
    for ax, score in zip(fig.axes[4:], ("simulation", "detection"), strict=True):
        rows = frame[frame["score"] == score]
        marks = [line for line in ax.lines if line.get_marker() == "o"]
        filled = [line for line in marks if line.get_markerfacecolor() != "white"]
        means = [float(line.get_xdata()[0]) for line in filled]
        assert means == pytest.approx(rows.loc[rows["token"], "mean"].tolist())
        assert len(marks) == len(rows) and len(ax.collections) == len(rows)  # each with its interval
    frame.loc[frame["group"].str.startswith("emerged"), ["mean", "ci_low", "ci_high"]] = np.nan
    gap = plots.explanations(scores(DIAMOND), DIAMOND, "", frame)
    assert len(gap.axes[4].lines) == len(fig.axes[4].lines) - 2 and not faults(gap)
    assert len(plots.explanations(scores(DIAMOND), DIAMOND).axes) == 4


def recipes():
    """A frontier: two recipes alone, two families, of which two values coincide, and the neurons."""
    rows = [("adopted", "", 0.96, 0.8), ("reference", "", 0.94, 0.35), ("width", "1×", 0.87, 0.24),
            ("width", "8×", 0.95, 0.3), ("width", "16×", 0.951, 0.31), ("kind", "relu", 0.91, 0.4),
            ("neurons", "", 0.81, 1)]
    frame = pd.DataFrame(rows, columns=["varied", "value", "ce_recovered_mean", "ceiling"])
    for end, more in (("", 0), ("_low", -0.02), ("_high", 0.02)):
        frame[f"ceiling{end}"] = frame["ceiling"] + more
        frame[f"ceiling_beyond_neuron{end}"] = (frame["ceiling"] + more - 0.2).where(frame["varied"] != "neurons")
    return frame


def test_the_frontier_shows_ceilings_of_all_features_and_beyond_neurons(tmp_path):
    frame = recipes()
    fig = plots.frontier(frame, dict(ceiling=0.8, ce_recovered_mean=0.95), note="a note")
    for ax, name in zip(fig.axes, ("ceiling", "ceiling_beyond_neuron"), strict=True):
        marks = {(round(x, 6), round(y, 6)) for line in ax.lines if line.get_marker() not in ("None", "")
                 for x, y in zip(*line.get_data(), strict=True)}
        rows = 100 * frame[["ce_recovered_mean", name]].dropna()
        assert marks == {tuple(row) for row in rows.to_numpy().round(6)}
        assert {text.get_text() for text in ax.texts} == {"1×", "8×, 16×", "relu"}
    assert "the neurons themselves" in read(fig) and "nan" not in read(fig) and not faults(fig)
    neurons = [[line for line in ax.lines if line.get_marker() == "X"] for ax in fig.axes]
    assert [len(lines) for lines in neurons] == [1, 0] and neurons[0][0].get_markerfacecolor() == "white"
    assert all(path.stat().st_size > 1000 for path in plots.write(fig, tmp_path / "one"))


# Dose ---------------------------------------------------------------------------------------------------------------

def test_what_persists_stands_over_what_was_learned_with_the_dose_beside_it():
    frame, merges = doses(DIAMOND)
    fig = drawn("dose")
    children = list(dict.fromkeys(frame["child"]))
    for ax, child in zip(fig.axes, children, strict=False):
        part = frame[(frame["child"] == child) & (frame["features"] == "all")]
        marks = next(line for line in ax.lines if line.get_marker() == "o" and line.get_linestyle() == "None")
        assert marks.get_color() == DIAMOND.color(child)
        assert marks.get_xdata() == pytest.approx(part["gain_nats"].to_numpy())
        assert marks.get_ydata() == pytest.approx(100 * part["observed"].to_numpy())
        assert [text.get_text() for text in ax.texts] == ["0.1×", "0.3×", "1×", "3×", "10×", "30×"]
    kept = next(line for line in fig.axes[-1].lines if line.get_marker() == "D")
    assert kept.get_ydata() == pytest.approx([80] * 6)
    assert "no merge of these children" in read(plots.dose(frame, merges[:0], DIAMOND))


# Ancestry -----------------------------------------------------------------------------------------------------------

def test_the_child_is_filled_and_what_is_no_child_hollow():
    both, nulls = changed(DIAMOND)
    for fig, count in ((plots.ancestry(both, DIAMOND), 2), (plots.null_models(nulls, DIAMOND), 1)):
        assert not faults(fig)
        for ax in fig.axes:
            seen = [line for line in ax.lines if line.get_marker() == "o"]
            filled = [line for line in seen if line.get_markerfacecolor() != "white"]
            assert len(filled) == count and all(line.get_xdata() == pytest.approx([60]) for line in seen)
    assert "from scratch on the child's text" in read(plots.null_models(nulls, DIAMOND))
    names = list(DIAMOND.models)
    sites = pd.concat([nulls.assign(model=name, hook=hook, trained=name == names[1]) for name in names[1:3]
                       for hook in ("blocks.5.mlp.hook_post", "blocks.5.hook_resid_post")])
    fig = plots.real_model(sites[sites["change"] == "scratch"], DIAMOND)
    assert not faults(fig) and "blocks.5.hook_resid_post" in read(fig)
    assert isinstance(plots.real_model(sites[:0], DIAMOND), plots.LeftOut)
    assert "ancestry cannot be told" in plots.ancestry(both[:0], DIAMOND).sentence


def test_searches_are_drawn_against_the_midpoint_of_their_own_seed():
    frame, evolution, rates = searches(DIAMOND)
    fig = plots.merge_search(frame, evolution, rates, lambda x: (min(x), np.mean(x), max(x)), DIAMOND)
    assert not faults(fig)
    assert {"CMA-ES, weights by part", "all domains", "Evolver, paper's rule"} <= set(read(fig).split("\n"))
    test = frame[(frame["split"] == "test") & (frame["domain"] == "macro")].set_index(["method", "model_seed"])
    apart = test.loc["cma", "loss_nats"] - test.loc["slerp_half", "loss_nats"]
    panel = next(ax for ax in fig.axes if ax.get_title(loc="left") == "all domains")
    assert any(line.get_xdata() == pytest.approx(apart.to_numpy()) for line in panel.lines
               if len(line.get_xdata()) == 3)
    assert isinstance(plots.merge_search(frame[:0], evolution, rates, None, DIAMOND), plots.LeftOut)


def test_value_networks_are_drawn_by_target_and_from_inside():
    frame, means, norms, inside, shares = carried()
    fig = plots.value_networks(frame, means)
    assert not faults(fig) and {"half the width", "LoRA on the target"} <= set(read(fig).split("\n"))
    assert any(line.get_xdata() == pytest.approx([0.6]) for line in fig.axes[0].lines if len(line.get_xdata()) == 1)
    fig = plots.value_details(norms, inside, shares)
    assert not faults(fig) and "the fine-tuned root" in read(fig)
    seen = next(line for line in fig.axes[0].lines if line.get_marker() == "o")
    assert seen.get_ydata() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert any(line.get_ydata() == pytest.approx([40]) for line in fig.axes[2].lines)
    assert isinstance(plots.value_details(norms[:0], inside, shares), plots.LeftOut)


def test_what_merges_keep_and_lose_is_drawn():
    kept, lost = merges_kept(DIAMOND)
    fig = plots.merge_features(kept, lost, DIAMOND)
    assert not faults(fig) and "way_5" in read(fig)
    marks = next(line for line in fig.axes[0].lines if line.get_marker() == "o")
    assert marks.get_xdata() == pytest.approx([30, 32, 34, 36, 38, 40])
    assert marks.get_ydata() == pytest.approx([60, 65, 70, 75, 80, 85])
    assert isinstance(plots.merge_features(kept[:0], lost, DIAMOND), plots.LeftOut)


def test_checkpoints_are_drawn_in_the_colors_of_their_tasks():
    frame, spreads = checkpoints(DIAMOND)
    fig = plots.checkpoints(frame, spreads, DIAMOND)
    assert not faults(fig) and "tasks it did not see" in read(fig)
    first, second = list(DIAMOND.domains)[1:3]
    tuned = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_color() for line in tuned] == [DIAMOND.domain(name).color for name in (first, second)]
    assert tuned[0].get_ydata() == pytest.approx([3.8, 3.4, 3.0, 2.6]) and len(fig.axes[1].lines) == 2
    assert isinstance(plots.checkpoints(frame[:0], spreads, DIAMOND), plots.LeftOut)


def test_lives_along_both_paths_are_drawn():
    found = histories(DIAMOND)
    fig = plots.life_histories(*found, DIAMOND)
    assert not faults(fig) and {"survival", "drift from model to model"} <= set(read(fig).split("\n"))
    curves = [line.get_ydata() for line in fig.axes[1].lines]
    assert len(curves) == 8 and curves[0] == pytest.approx([90, 81, 72.9])
    assert len(fig.axes[2].containers[0][0].get_xdata()) == 3  # those born in the last model tell nothing
    assert isinstance(plots.life_histories(found[0][:0], *found[1:], DIAMOND), plots.LeftOut)


def test_every_language_model_has_a_mark_and_the_bar_is_of_their_mean():
    fig = drawn("replicates")
    for y, _ in enumerate(DIAMOND.edges):
        here = [line for line in fig.axes[0].lines if line.get_ydata()[0] == y]
        marks = next(line for line in here if line.get_marker() == "o")
        assert marks.get_xdata() == pytest.approx([60, 65, 70])
        assert any(line.get_xdata() == pytest.approx([55, 72]) for line in here if len(line.get_xdata()) == 2)
