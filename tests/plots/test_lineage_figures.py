"""Figures 1 and 2 over lineages of every shape."""

import numpy as np
import pandas as pd
import pytest

from unifeat import plots
from unifeat.plots import alluvial
from unifeat.plots.flow import _tally
from unifeat.support.theme import Look, theme

SHAPES = {"diamond": ("abcd", ["ab", "ac", "bd", "cd"]), "chain": ("abcde", ["ab", "bc", "cd", "de"]),
          "star": ("abcdef", ["ab", "ac", "ad", "ae", "af"]), "two roots": ("abcd", ["ab", "cd"]),
          "roots merged": ("abc", ["ac", "bc"]), "eight": ("abcdefgh", ["ab", "ac", "bd", "cd", "de", "df", "eg", "fg"])}
LIVE, KEPT, BOTH = 1000.0, 300.0, 100.0


def looks(shape):
    names, edges = shape
    return theme({name: Look(label=f"Model {name.upper()}") for name in names}, {"x": Look()},
                 [tuple(edge) for edge in edges], {name: ("x",) for name in names})


def frames(look):
    """flow.csv and persistence.csv in which every model has LIVE features and every edge keeps KEPT of them."""
    rows, curves = [], []
    for a, b in look.edges:
        rows += [(a, b, "persist", KEPT, KEPT / LIVE), (a, b, "emerge", LIVE - KEPT, 1 - KEPT / LIVE),
                 (a, b, "disappear", LIVE - KEPT, 1 - KEPT / LIVE)]
        curves += [("controlled", a, b, side, "one_to_one", tau, LIVE, LIVE, 1 - tau, 1 - tau, 1 - tau, 0.65, 0.01, 0.5)
                   for side in ("parent", "child") for tau in np.linspace(0, 1, 41).round(3)]
    for name in look.models:
        for others, none, into in (([a for a, b in look.edges if b == name], "new", True),
                                   ([b for a, b in look.edges if a == name], "neither", False)):
            if len(others) == 2:
                parts = {"both": BOTH, **{f"{one} only": KEPT - BOTH for one in others}}
                parts[none] = LIVE - sum(parts.values())
                rows += [((part, name) if into else (name, part)) + ("persist", size, size / LIVE)
                         for part, size in parts.items()]
    columns = "arm parent child side rule tau n_parent n_child observed ci_low ci_high ceiling null excess".split()
    return (pd.DataFrame(rows, columns=["source", "target", "kind", "features", "share"]),
            pd.DataFrame(curves, columns=columns))


def summary(look):
    return dict(model=dict(kind="One-layer Mistral", parameters=2.7e6), saes={},
                models={name: dict(data="x", loss=3.2, accuracy=0.4, made="fine-tune") for name in look.models})


def words(fig):
    return " | ".join(text.get_text() for text in fig.findobj(lambda item: hasattr(item, "get_text")))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_model_and_edge_is_drawn(shape, tmp_path):
    look = looks(shape)
    design = plots.design(summary(look), look, "a note")
    assert all(f"Model {name.upper()}" in words(design) for name in look.models)
    flow, curves = frames(look)
    fig = plots.flow(flow, curves, look, note="a note")
    told = words(fig)
    assert all(look.edge(*edge) in told or "…" in told for edge in look.edges)
    assert told.count("300 (30 %)\nceiling 65, null 1") == len(look.edges)
    for one, again in ((design, plots.design(summary(look), look, "a note")),
                       (fig, plots.flow(flow, curves, look, note="a note"))):
        first, second = plots.write(one, tmp_path / "a"), plots.write(again, tmp_path / "b")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_bars_and_ribbons_are_as_high_as_the_counts(shape):
    look = looks(shape)
    bars, height = alluvial._bars(_tally(frames(look)[0]), look)
    for name, bar in bars.items():
        assert bar.live == LIVE and 0 <= bar.top <= height
        for top, bottom in bar.sides.values():
            assert bar.top - 1e-9 <= top and bottom <= bar.top + bar.live + 1e-9 and bottom - top == pytest.approx(KEPT)
        assert {other for _, other in bar.sides} == {one for edge in look.edges if name in edge for one in edge} - {name}
    for parent, child in look.edges:
        assert bars[parent].x < bars[child].x


def test_both_parents_overlap_by_what_the_child_has_from_both():
    look = looks(SHAPES["diamond"])
    bars, _ = alluvial._bars(_tally(frames(look)[0]), look)
    (a, b), (c, d) = (bars["d"].sides["in", name] for name in "bc")
    assert b - c == pytest.approx(BOTH) and a < c < b < d


def test_what_cannot_be_drawn_is_said_in_a_sentence():
    alone, crowd = looks(("a", [])), looks(("abcdefghijkl", ["ab"]))
    flow, curves = frames(alone)
    assert "this lineage has no edge" in plots.flow(flow, curves, alone).sentence
    assert not isinstance(plots.design(summary(alone), alone), plots.LeftOut)
    for found in (plots.flow(*frames(crowd), crowd), plots.design(summary(crowd), crowd)):
        assert isinstance(found, plots.LeftOut) and "at most 8 models, and here are 12" in found.sentence
