"""Every figure of lineages of every shape, up to eight models and eight domains with long and odd names."""

import warnings

import pytest
from plot_frames import FIGURES, NINE, NUMBERED, SHAPES, TOPICS, cases, drawn, ladder, shape
from plot_reading import faults, read, texts

from unifeat import plots
from unifeat.plots import agreement, style
from unifeat.studies import weight_matching

MISSING = {"merge_sweep": ("chain", "star", "alone"), "verdicts": ("alone",), "arms": ("alone",),
           "functional": ("alone",), "dose": ("alone",),
           "replicates": ("alone",)}


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "diamond"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_lineage_of_any_shape_is_drawn(name, shape):
    fig = drawn(name, shape)
    if shape in MISSING.get(name, ()):
        assert isinstance(fig, plots.LeftOut) and fig.sentence.endswith(".") and "\n" not in fig.sentence
    else:
        assert not faults(fig)


@pytest.mark.parametrize("name", FIGURES)
def test_more_models_than_a_figure_holds_leave_it_out(name):
    fig = FIGURES[name](NINE)
    if name in ("corpora", "merge_sweep", "mixes", "explanations", "dose"):
        assert not faults(fig)
    else:
        assert "at most 8 models" in fig.sentence and "here are 9" in fig.sentence and "data/" in fig.sentence


@pytest.mark.parametrize("name", FIGURES)
def test_no_name_is_read_as_a_formula(name):
    """A dollar sign in a label is a dollar sign; in pairs they would start a formula, and a wrong one would raise."""
    fig = drawn(name, "eight")
    assert not any(text.get_parse_math() for text in texts(fig))
    assert "$" in read(fig) or name == "explanations"
    style._render(fig, "pdf")


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    assert "_hidden" in read(drawn("sae_card", "eight")) and "→ _hidden" in read(
        drawn("verdicts", "eight"))


def test_models_and_edges_that_a_theme_does_not_have_are_drawn_in_grey():
    look = SHAPES["two roots"]
    frame = ladder(look)
    frame["comparison"] = frame["comparison"].str.replace("both", "stranger")
    assert not faults(plots.ladder(frame, look))
    case = cases(look)[0]
    for key in ("activations", "r", "feature"):
        case[key] = {f"{model}_x": value for model, value in case[key].items()}
    assert "One x #0" in read(plots.token_heatmap([case], look))


def test_the_tables_rows_are_those_that_the_figure_of_verdicts_names():
    assert tuple(agreement.SHARE_NAMES) == weight_matching.ROWS and weight_matching.FEATURES[0] == "all"


@pytest.mark.parametrize("name", FIGURES)
def test_a_character_that_the_font_lacks_is_drawn_by_its_number(name, monkeypatch):
    """Chinese, Thai and emoji labels; Arabic, Hebrew and accents have shapes. Nothing warns of a missing one."""
    labels = ["模型", "ไทย", "🙂", "نموذج", "שלום", "Modèle", "x", "y"]
    look = shape(NUMBERED[:4], [(NUMBERED[i], NUMBERED[j]) for i, j in ((0, 1), (0, 2), (1, 3), (2, 3))],
                 TOPICS[:4], None, dict(zip(NUMBERED[:4] + TOPICS[:4], labels, strict=True)))
    fig = FIGURES[name](look)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style._render(fig, "png")
    words = read(fig)
    assert not {"模", "🙂"} & {*words}
