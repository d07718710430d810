"""Texts, training, losses by domain, and the merge along t."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from plot_frames import (
    DOMAINS,
    FIGURES,
    LONG,
    SHAPES,
    TEXTS,
    drawn,
    kept,
    logs,
    losses,
    read_at,
    shape,
    stats,
    sweep,
)
from plot_reading import faults, read

from unifeat import plots
from unifeat.plots import style
from unifeat.plots.names import clipped

DIAMOND = SHAPES["diamond"]


def lines(ax, **wanted):
    """Lines of a panel with these properties, such as linestyle or color."""
    return [line for line in ax.lines if all(mpl.artist.getp(line, key) == value for key, value in wanted.items())]


def test_gaps_in_the_numbers_leave_no_nan():
    missing = logs(DIAMOND)
    missing.loc[missing["domain"] == "code", "loss"] = np.nan
    models = losses(DIAMOND).assign(accuracy=np.nan)
    drawn = [plots.loss_curves(missing, DIAMOND), plots.domain_matrix(models, DIAMOND),
             plots.merge_sweep(sweep(DIAMOND).assign(accuracy=np.nan), DIAMOND),
             plots.corpora(stats(DIAMOND)[:0], DIAMOND), plots.domain_matrix(models[:0], DIAMOND)]
    for fig in drawn:
        assert "nan" not in read(fig).lower()
        style._render(fig, "pdf")
    assert "not measured" in read(drawn[1])


@pytest.mark.parametrize("size, unit", [(4e9, "GB"), (2.5e6, "MB"), (3e4, "kB"), (0, "kB")])
def test_text_of_any_size_has_a_unit(size, unit):
    fig = plots.corpora(stats(DIAMOND).assign(bytes=size), DIAMOND)
    assert f"text ({unit})" in read(fig) and "nan" not in read(fig)
    assert not faults(fig)


def test_models_that_were_not_trained_here_have_no_loss_curves():
    assert "needs" not in read(plots.loss_curves(logs(DIAMOND), DIAMOND))
    assert plots.loss_curves(logs(DIAMOND)[:0], DIAMOND).sentence == \
        "The loss curves need a model that is trained here, and this lineage has none."


def test_curves_are_named_at_their_ends_or_in_the_legend():
    def named(fig):
        return [text.get_text() for text in fig.legends[0].get_texts()][2:]

    three, four = plots.loss_curves(logs(DIAMOND).query("model != 'merge'"), DIAMOND), drawn("loss_curves")
    assert "Prose 3" in read(three) and not named(three)
    assert "Prose 3" not in read(four) and named(four) == ["Prose", "Code", "Tales", "Scripts"]
    assert named(drawn("loss_curves", "eight")) == [clipped(text, 28) for text in TEXTS]


def test_the_matrix_shows_the_baseline_and_blanks():
    fig = drawn("domain_matrix")
    assert "Kneser-Ney mixture" in read(fig) and "Bits per byte" in read(fig)
    assert sum(len(ax.texts) for ax in fig.axes) == 20 + 20 + 16


def test_a_model_s_own_domains_are_outlined():
    for ax in drawn("domain_matrix").axes:
        outlined = [(int(patch.get_y()), int(patch.get_x())) for patch in ax.patches]
        assert outlined == [(0, 0), (0, 1), (1, 3), (2, 2), (3, 2), (3, 3)]  # (model, domain), as in OWN
    alone = shape(("only",), (), ("x",), {"only": ()})
    assert not FIGURES["domain_matrix"](alone).axes[0].patches


# Figure 5 -----------------------------------------------------------------------------------------------------

def test_the_sweep_names_parents_and_both_choices_of_t():
    text = read(drawn("merge_sweep"))
    for expected in ("t (0 = Left, 1 = Right)", "chosen, t = 0.47", "paper, t = 0.58", "slerp", "lerp", "Root",
                     "the domain's own parent"):
        assert expected in text, expected
    assert "first of" not in text and "paper" not in read(plots.merge_sweep(sweep(DIAMOND), DIAMOND))


def test_curves_of_the_sweep_meet_their_parents_lines():
    """At t = 0 the curve of the first parent's domain ends on that parent's line, at t = 1 the second's on its own."""
    for ax in drawn("merge_sweep").axes[:2]:
        for parent, at, start in (("left", 0, 0), ("right", 1, -1)):
            color = DIAMOND.color(parent)
            curve, = lines(ax, color=color, linestyle="-", linewidth=1.2)
            level, = lines(ax, color=color, linestyle="--", linewidth=0.7)
            assert curve.get_xdata()[start] == at and curve.get_ydata()[start] == level.get_ydata()[0]


def test_the_sweep_takes_the_model_above_from_its_own_rows():
    def levels(fig):
        return sorted(line.get_ydata()[0] for line in lines(fig.axes[1], linestyle="--", linewidth=0.7))

    mine = [3.8, 6.0]  # of the parents on their own domains: `right` on the third, `left` on the fourth
    assert np.allclose(levels(drawn("merge_sweep")), [*mine, 6.5, 6.5])
    without = plots.merge_sweep(sweep(DIAMOND).query("method != 'base'"), DIAMOND)
    assert "Root" not in read(without) and np.allclose(levels(without), mine)
    assert len(levels(drawn("merge_sweep", "two roots"))) == 2  # they have no model above them


def test_the_sweep_of_parents_with_several_domains_has_the_domains_colors():
    own = {"root": DOMAINS, "left": ("prose", "code"), "right": ("tales", "scripts"), "merge": DOMAINS}
    look = shape([*DIAMOND.models], DIAMOND.edges, DOMAINS, own)
    strong = {to_hex(line.get_color()).upper() for line in plots.merge_sweep(sweep(look), look).axes[0].lines
              if line.get_marker() == "o"}
    assert strong == {one.color for one in look.domains.values()}
    paper = {to_hex(line.get_color()).upper() for line in drawn("merge_sweep").axes[0].lines
             if line.get_marker() == "o"}
    assert paper == {DIAMOND.color("left"), DIAMOND.color("right")}


def test_what_is_kept_stands_beside_the_published_sweep_with_both_crossings():
    """Kept at t = 3/7 by hand: 1 - 0.8 * 3/7 = 0.657, published 0.4 * 3/7 * 4/7 = 0.098 more; at 0.58 the diamonds."""
    fig = drawn("merge_sweep")
    words, ax = read(fig), fig.axes[2]
    assert "this run: both keep\n66 % at t = 0.43" in words and "paper's sweep: both keep\n75 % at t = 0.43" in words
    assert "63 %" in words and "85 %" in words and "paper's own sweep" in words and "Left, paper" in words
    for parent, ends in (("left", (100, 20)), ("right", (40, 100))):
        curves = [line for line in lines(ax, color=DIAMOND.color(parent)) if len(line.get_xdata()) > 2]
        assert len(curves) == 2 and {line.get_linestyle() for line in curves} == {"-", "--"}
        assert all(np.allclose(line.get_ydata()[[0, -1]], ends) for line in curves)
        diamond, = lines(ax, color=DIAMOND.color(parent), marker="D")
        assert diamond.get_xdata()[0] == 0.58
    rings = {round(float(line.get_ydata()[0]), 1) for line in lines(ax, marker="o")}
    assert rings == {65.7, 75.5} and not faults(fig)


def test_what_is_kept_without_a_published_sweep_is_this_run_s_alone():
    alone = ("this run",)
    fig = plots.merge_sweep(sweep(DIAMOND), DIAMOND, picked=0.47, kept=kept(DIAMOND, alone),
                            points=read_at(DIAMOND, alone))
    assert "this run: both keep" in read(fig) and "paper" not in read(fig) and not faults(fig)
    assert len(lines(fig.axes[2], marker="o")) == 1 and not lines(fig.axes[2], linestyle="--")
    gaps = kept(DIAMOND).assign(kept=np.nan)
    for frame in (None, gaps, gaps[:0]):
        assert "not measured" in read(plots.merge_sweep(sweep(DIAMOND), DIAMOND, kept=frame))


def test_the_sweep_needs_a_merge_and_says_which_it_drew():
    sentence = "Figure 5 needs a merge of two models, and this lineage has none."
    for frame in (None, sweep(DIAMOND)[:0], sweep(DIAMOND).assign(merge="left"), sweep(DIAMOND)[:0].assign(merge=[])):
        assert plots.merge_sweep(frame, DIAMOND).sentence == sentence
    assert plots.merge_sweep(sweep(DIAMOND), SHAPES["chain"]).sentence == sentence
    eight = SHAPES["eight"]  # m4 and m6 have two parents each
    one = plots.merge_sweep(sweep(eight).assign(merge="m6"), eight)
    assert f"{clipped(LONG[6], 24)}, the first of 2 merges" in read(one)
    assert f"t = 0: {LONG[3]}" in read(one) and f"t = 1: {LONG[1]}" in read(one)
    assert not faults(one)


def test_parents_with_many_domains_of_their_own_have_no_levels():
    own = dict.fromkeys(SHAPES["eight"].models, tuple(SHAPES["eight"].domains))
    look = shape([*own], SHAPES["eight"].edges, [*SHAPES["eight"].domains], own)
    fig = plots.merge_sweep(sweep(look), look)
    assert not lines(fig.axes[0], linestyle="--") and "own parent" not in read(fig)
