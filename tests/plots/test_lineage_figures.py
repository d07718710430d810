"""Figures 1 and 2 of lineages of every shape: nothing missing, nothing cut, heights that are counts."""

from collections import Counter

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from unifeat import plots
from unifeat.plots import style
from unifeat.support.theme import Look, theme

LOOKS = {"base": Look("Base (English+Python)", "Base", color="#4D4D4D"), "lua": Look("Lua", color="#0072B2"),
         "stories": Look("Stories", color="#D55E00"), "merged": Look("Merged (SLERP)", "Merged", color="#CC79A7")}
EDGES = {
    "diamond": [("base", "lua"), ("base", "stories"), ("lua", "merged"), ("stories", "merged")],
    "chain of two": [("a", "b")],
    "chain of three": [("a", "b"), ("b", "c")],
    "chain of five": [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")],
    "chain of eight": list(zip("abcdefg", "bcdefgh", strict=True)),
    "star": [("root", child) for child in ("chat", "code", "maths", "law", "poems")],
    "star of seven": [("root", f"child_{k}") for k in range(7)],
    "two roots merged": [("a", "c"), ("b", "c")],
    "two lines": [("a", "c"), ("b", "d")],
    "three merged": [("base", "x"), ("base", "y"), ("base", "z"), ("x", "mix"), ("y", "mix"), ("z", "mix")],
    "skip": [("base", "lua"), ("base", "stories"), ("base", "merged"), ("lua", "merged"), ("stories", "merged")],
    "eight": [("base", "tuned_on_chats"), ("base", "code"), ("other", "last"), ("tuned_on_chats", "mix"),
              ("code", "mix"), ("mix", "mix_tuned"), ("mix_tuned", "last"), ("code", "quantized")],
    "wide merges": [("a", "c"), ("a", "d"), ("b", "e"), ("c", "f"), ("d", "f"), ("e", "f"), ("d", "g"), ("e", "g"),
                    ("f", "h"), ("g", "h")],
    "eight deep": [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"), ("b", "g"), ("g", "f"), ("a", "h"),
                   ("h", "d"), ("a", "f")],
}
NODES = {"two roots": ("a", "b"), "alone": ("my_model",), "nine": tuple("abcdefghi"),
         "twelve": tuple(f"m{k}" for k in range(12))}
MADE = ("fine-tune", "SLERP, t = 0.42", "quantized to 4 bits", "given", "task arithmetic, 0.5, 0.5")
PERSISTENCE = ["arm", "parent", "child", "side", "rule", "tau", "observed", "ci_low", "ci_high", "ceiling", "null"]
NOTE = "laptop profile; corpora: embedded stand-ins; comparison text 131 k tokens, 1,024 blocks per domain"


def look(shape):
    edges = EDGES.get(shape, ())
    names = dict.fromkeys([*NODES.get(shape, ()), *(name for edge in edges for name in edge)])
    return theme({name: LOOKS.get(name, Look()) for name in names}, {}, edges)


def summary(look):
    models = {name: dict(data="Text of some kind, embedded stand-in", tokens=1_200_000 * (k + 1), loss=3.1 + k / 10,
                         accuracy=0.42 - k / 50, made=MADE[k % len(MADE)] if k else "")
              for k, name in enumerate(look.models)}
    return dict(model=dict(parameters=2_690_000, d_model=256, d_mlp=512, vocab=4096, kind="One-layer Mistral"),
                models=models, saes={name: dict(kind="topk", width=2048, l0=40.0, live=1867) for name in look.models})


def flow_frame(look, seed=0):
    """A flow in which every feature of a model has a set of parents that it matches, and of children."""
    rng, rows = np.random.default_rng(seed), []
    live = {name: int(rng.integers(700, 2000)) for name in look.models}
    kept = {edge: int(rng.uniform(0.05, 0.6) * min(live[name] for name in edge)) for edge in look.edges}
    for (a, b), n in kept.items():
        rows += [(a, b, "persist", n, n / live[b]), (a, b, "emerge", live[b] - n, 1 - n / live[b]),
                 (a, b, "disappear", live[a] - n, 1 - n / live[a])]
    for name in look.models:
        for end, none in ((1, "new"), (0, "neither")):
            masks = {edge[1 - end]: np.isin(np.arange(live[name]), rng.permutation(live[name])[:n])
                     for edge, n in kept.items() if edge[end] == name}
            if len(masks) < 2:
                continue
            hits = np.sum(list(masks.values()), axis=0)
            parts = {"both" if len(masks) == 2 else "several": hits > 1, none: hits == 0}
            parts |= {f"{other} only": mask & (hits == 1) for other, mask in masks.items()}
            for part, mask in parts.items():
                kind = {"new": "emerge", "neither": "disappear"}.get(part, "persist")
                rows.append(((part, name) if end else (name, part)) + (kind, mask.sum(), mask.mean()))
    return pd.DataFrame(rows, columns=["source", "target", "kind", "features", "share"])


def persistence_frame(look):
    rows, tau = [], np.round(np.linspace(0, 1, 41), 3)
    for k, (a, b) in enumerate(look.edges):
        for side, features in (("child", "all"), ("parent", "all"), ("both", "all"), ("child", "beyond_both")):
            frame = pd.DataFrame(dict(arm="controlled", parent=a, child=b, side=side, rule="one_to_one", tau=tau,
                                      features=features))
            frame["observed"] = 1 / (1 + np.exp(9 * (tau - 0.5 - 0.03 * k)))
            frame["ci_low"], frame["ci_high"] = frame["observed"] - 0.02, frame["observed"] + 0.02
            frame["ceiling"], frame["null"] = 1 / (1 + np.exp(9 * (tau - 0.85))), np.exp(-60 * tau)
            if features == "beyond_both":
                frame[["observed", "ci_low", "ci_high", "ceiling"]] = (0.4, 0.37, 0.43, 0.75)
            rows.append(frame)
    frame = pd.concat(rows or [pd.DataFrame(columns=PERSISTENCE)])
    return frame.assign(excess=(frame["observed"] - frame["null"]) / (frame["ceiling"] - frame["null"]))


def design(shape):
    return plots.design(summary(look(shape)), look(shape), note=NOTE)


def flow(shape, **options):
    one = look(shape)
    return plots.flow(flow_frame(one), persistence_frame(one), one, note=NOTE, **options)


def texts(fig):
    """All texts on the page; ticks of axes that are switched off are not."""
    off = {id(label) for ax in fig.axes if not ax.axison for label in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    return [text for text in fig.findobj(mpl.text.Text)
            if text.get_visible() and text.get_text().strip() and id(text) not in off]


def read(fig) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in texts(fig))


def faults(fig) -> list[str]:
    """Texts that are cut by the edge of the page or written across another text."""
    fig.canvas.draw()  # legends have their place from here
    renderer, page, found = fig.canvas.get_renderer(), fig.bbox.padded(0.5), []
    boxes = [(text, text.get_window_extent(renderer)) for text in texts(fig)]
    for k, (text, box) in enumerate(boxes):
        if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1)):
            found.append(f"cut: {text.get_text()!r}")
        for other, beside in boxes[:k]:
            wide = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            high = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            if wide > 1.5 and high > 1.5:
                found.append(f"across: {text.get_text()!r} and {other.get_text()!r}")
    return found


@pytest.mark.parametrize("shape", [*EDGES, "two roots", "alone"])
def test_the_design_shows_every_model_and_how_it_is_made(shape):
    fig, one = design(shape), look(shape)
    assert not faults(fig) and NOTE in read(fig)
    assert len(fig.findobj(mpl.patches.FancyArrowPatch)) == len(one.edges)
    made, expected = Counter(), Counter(facts["made"] for name, facts in summary(one)["models"].items()
                                        if facts["made"] and any(name == child for _, child in one.edges))
    for name in one.models:
        assert one.short(name) in read(fig)
    for text in texts(fig):
        told = " ".join(text.get_text().replace(",", "").split())
        made[next((way for way in MADE if told == way.replace(",", "")), "")] += 1
    assert {way: made[way] for way in expected} == dict(expected)


@pytest.mark.parametrize("shape", EDGES)
def test_the_flow_shows_every_model_edge_count_ceiling_and_null(shape):
    fig, one = flow(shape), look(shape)
    told, frame, bounds = read(fig), flow_frame(one), Counter()
    assert not faults(fig) and NOTE in told
    for name in one.models:
        assert f"{one.short(name)} " in told
    for edge in one.edges:
        assert told.count(one.edge(*edge)) >= 2  # a panel and a row of the table
        row = frame[(frame["source"] == edge[0]) & (frame["target"] == edge[1]) & (frame["kind"] == "persist")].iloc[0]
        bounds[f"{row.features:,} ({100 * row.share:.0f} %)"] += 1
    assert all(told.count(text) >= times for text, times in bounds.items())
    assert told.count("ceiling 61, null 0") == len(one.edges)
    assert sum(ax.axison for ax in fig.axes) == len(one.edges)  # a panel each


@pytest.mark.parametrize("shape", EDGES)
def test_ribbons_and_bars_are_as_high_as_their_counts(shape):
    """Ribbons of one edge add up to what persists at either end, and lie within the bars; every bar is its live."""
    one, fig = look(shape), flow(shape)
    frame = flow_frame(one)
    kept = {f"{row.source} → {row.target}": row.features for row in frame.itertuples() if row.kind == "persist"}
    for edge in one.edges:
        ends = Counter()
        for ribbon in fig.findobj(lambda item, edge=edge: item.get_gid() == " → ".join(edge)):
            (x0, top), (_, bottom) = ribbon.get_path().vertices[[0, 7]]
            (x1, upper), (_, lower) = ribbon.get_path().vertices[[3, 4]]
            ends[ribbon.axes, "left", round(x0, 6)] += bottom - top
            ends[ribbon.axes, "right", round(x1, 6)] += lower - upper
        assert ends and all(total == pytest.approx(kept[" → ".join(edge)]) for total in ends.values())
    bars = {round(patch.get_height()) for patch in fig.findobj(mpl.patches.Rectangle)
            if patch.axes is not None and abs(patch.get_width() - 0.18) < 1e-9}
    live = frame[frame["kind"].isin(("persist", "emerge"))].groupby(["source", "target"])["features"].sum()
    assert {live[edge] for edge in one.edges} <= bars


def test_ribbons_of_a_merge_overlap_by_what_it_has_from_both():
    fig = flow("diamond")
    frame = flow_frame(look("diamond")).set_index(["source", "target"])["features"]
    ends = {name: fig.findobj(lambda item, name=name: item.get_gid() == f"{name} → merged")
            for name in ("lua", "stories")}
    spans = {name: sorted(ribbon.get_path().vertices[[3, 4], 1].tolist() for ribbon in ribbons)
             for name, ribbons in ends.items()}
    assert spans["lua"][-1][1] - spans["stories"][0][0] == pytest.approx(frame["both", "merged"])


def test_what_cannot_be_drawn_is_said_in_one_sentence():
    for shape in ("nine", "twelve"):
        many = len(look(shape).models)
        for fig, name in ((design(shape), "Figure 1"), (flow(shape), "Figure 2")):
            assert isinstance(fig, plots.LeftOut) and fig.sentence.startswith(f"{name} shows at most 8 models")
            assert f"here are {many}" in fig.sentence and "data/" in fig.sentence
    for shape in ("alone", "two roots"):
        assert isinstance(flow(shape), plots.LeftOut) and flow(shape).sentence == (
            "Figure 2 needs at least one edge, that is a model made of another, and this lineage has none.")


@pytest.mark.parametrize("shape", ["diamond", "eight", "chain of five"])
def test_drawing_twice_gives_the_same_bytes(shape, tmp_path):
    for draw in (design, flow):
        first, again = plots.write(draw(shape), tmp_path / "a"), plots.write(draw(shape), tmp_path / "b")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_parts_that_a_drawing_has_no_room_for_are_said_below_it():
    told = read(flow("wide merges"))
    assert "F, by origin: " in told and "D, by fate: " in told and "from several" in told
    assert "The layer that ends a row of bars begins the next." in read(flow("chain of five"))
    one = theme({name: Look() for name in ("a", "b", "apart")}, {}, [("a", "b")])
    assert "Without an edge, so not drawn: Apart." in read(plots.flow(flow_frame(one), persistence_frame(one), one))


def test_the_flow_of_nothing_is_a_figure():
    one = look("diamond")
    empty = plots.flow(flow_frame(one)[:0], persistence_frame(one)[:0], one)
    holes = persistence_frame(one)
    holes[["observed", "ci_low", "ci_high", "ceiling", "null", "excess"]] = np.nan
    zero = plots.flow(flow_frame(one).assign(features=0, share=np.nan), holes, one)
    for fig in (empty, zero):
        assert "no live features" in read(fig) and "nan" not in read(fig).lower() and not faults(fig)
    assert read(zero).count("–") >= 24
    dead = flow_frame(one).query("source != 'stories' and target != 'stories'")
    assert "Stories 0 live" in read(plots.flow(dead, persistence_frame(one), one))


def test_without_the_split_by_fate_no_overlap_is_claimed():
    one = look("diamond")
    frame = flow_frame(one)[lambda rows: rows["source"].isin(list(one.models)) & rows["target"].isin(list(one.models))]
    told = read(plots.flow(frame, persistence_frame(one), one))
    assert "kept in" not in told and "from both" not in told and "1,805 live" in told


def test_a_summary_with_gaps_and_long_or_odd_names_is_drawn():
    assert not faults(plots.design({}, look("diamond"), note=NOTE))
    names = ("_hidden", "a name of more than thirty characters", "costs $5 or $6", "x" * 40, "b", "c", "d", "e")
    edges = [(names[0], names[1]), (names[1], names[2]), (names[1], names[3]), (names[2], "b"), (names[3], "b")]
    one = theme({name: Look() for name in names}, {}, edges)
    assert not faults(plots.design(summary(one), one, note=NOTE))
    fig = plots.flow(flow_frame(one), persistence_frame(one), one, note=NOTE * 3)
    assert not faults(fig)
    style._render(fig, "pdf")
