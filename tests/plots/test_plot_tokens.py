"""Token heat-maps: whitespace and odd bytes, shading, silence, rows of any lineage."""

import numpy as np
from matplotlib.colors import to_hex
from plot_frames import CODE, SHAPES, cases, drawn
from plot_reading import colors, faults, read

from unifeat import plots
from unifeat.plots import style
from unifeat.plots.tokens import show

DIAMOND = SHAPES["diamond"]


def test_whitespace_is_visible():
    assert show(" if") == "·if" and show("\n") == "↵" and show("\t\tx") == "→→x"
    assert show(" " * 12) == "·×12" and show("\n    return") == "↵····return"
    assert show(b"\xc3") == "⟨0xC3⟩" and show("é") == "é" and show("\x00") == "⟨0x00⟩" and show("") == ""


def test_token_rows_print_r_and_survive_silence():
    text = read(drawn("token_heatmap"))
    for expected in ("r = 0.93", "r = 0.31", "reference", "no match", "Root #100", "↵", "·×8", "⟨0xA9⟩", "·$key"):
        assert expected in text, expected
    dead = [{**case, "activations": {model: np.full(len(case["tokens"]), np.nan) for model in DIAMOND.models}}
            for case in cases(DIAMOND)]
    assert "nan" not in read(plots.token_heatmap(dead, DIAMOND)).lower()
    first = cases(DIAMOND)[0]
    assert not faults(plots.token_heatmap([first, {**first, "tokens": [], "activations": {}}], DIAMOND))
    plots.token_heatmap([], DIAMOND)


def test_a_row_stands_for_each_model_that_a_case_has():
    case = {"title": "x", "tokens": ["a"], "activations": {"merge": None, "root": np.ones(1)}, "r": {}}
    text = read(plots.token_heatmap([case], DIAMOND)).split("\n")
    assert [name for name in text if name in ("Root", "Left", "Merge")] == ["Root", "Merge"]


def test_long_titles_and_names_keep_to_their_places():
    eight = SHAPES["eight"]
    case = {**cases(eight)[0], "title": "universal: " + "very " * 40 + "long", "rule": "rule: " + "word " * 80}
    fig = plots.token_heatmap([case], eight)
    assert not faults(fig) and "#7" in read(fig)


def test_shading_is_relative_to_the_feature_s_own_maximum():
    def shades(*found):
        case = {"title": "x", "tokens": ["a", "b"], "r": {}, "feature": {"root": 3}}
        return colors(plots.token_heatmap([{**case, "activations": {"root": np.array(one)}} for one in found], DIAMOND))

    full, half, quarter = (to_hex(style.tint(DIAMOND.color("root"), share)).upper() for share in (0.8, 0.4, 0.2))
    assert {full, half} <= shades([1.0, 2.0])
    assert {half, quarter} <= shades([1.0, 2.0], [4.0, 0.0])


def test_the_tokens_of_a_context_are_drawn_once_per_model():
    text = read(plots.token_heatmap(cases(DIAMOND)[:1], DIAMOND)).split("\n")
    assert text.count("·options") == CODE.count(" options") * len(DIAMOND.models)
