"""Figure 2: the flow of features from base to children to merge, with its ceiling, null and thresholds."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Curve

from unifeat.plots.style import (
    EDGES,
    GREY,
    MODEL_COLORS,
    SHORT_NAMES,
    count,
    finite,
    hint,
    ink,
    percent,
    picture,
    spread,
    styled,
    tint,
)

RULES = {"best": "many-to-one", "mutual": "mutual best", "one_to_one": "one-to-one"}
X = {"base": 0.0, "lua": 1.0, "stories": 1.0, "merged": 2.0}
BAR = 0.065  # half the width of a bar
PARTS = ("lua only", "both", "stories only")
LEGEND = (
    "Flow: percentages of the child's live features, or of the parent's where features disappear; the white "
    "dashes stand where the persisting part would end at the seed ceiling, that is between two SAEs of one "
    "model. Excess = (observed − null) / (ceiling − null)."
)
FATES, ORIGINS = (*PARTS, "neither"), (*PARTS, "new")


@styled
def flow(flow: pd.DataFrame, persistence: pd.DataFrame, curve: pd.DataFrame, beyond: pd.DataFrame | None = None,
         arm: str = "independent", rule: str = "one_to_one", tau: float = 0.8, note: str = ""):
    """Figure 2: which features persist, emerge and disappear, beside seed ceiling, null and every threshold.

    flow: frame source, target, kind, features, share. Edges base -> lua | stories -> merged with kind persist
    and emerge (share of the target's live features) and disappear (share of the source's). Rows with target
    "merged" and source "both" | "lua only" | "stories only" | "new" split the merged model's live features by
    origin; rows with source "base" and target "both" | "lua only" | "stories only" | "neither" (optional)
    split the base's by fate. persistence: persistence.csv. curve: parent, child, side, rule, tau, observed,
    ci_low, ci_high, ceiling, null at many tau. Both are narrowed to `arm` and `rule`; flow is drawn as given.
    beyond: weights.csv, for the child's features that are not one neuron.
    """
    chosen = _select(persistence, arm=arm, rule=rule)
    chosen = chosen[np.isclose(chosen["tau"].astype(float), tau)]
    fig = picture(5.4, note)
    top, bottom = fig.subfigures(2, 1, height_ratios=(3.6, 1.35))
    left, right = top.subfigures(1, 2, width_ratios=(1.9, 1))
    ax = left.subplots()
    ax.set_title(f"Live features: r ≥ {tau:g}, {RULES.get(rule, rule)}, {arm} SAE initialization", fontsize=7)
    _alluvial(ax, _tally(_select(flow, arm=arm, rule=rule)), _select(chosen, side="child"))
    _curves(right, _select(curve, arm=arm, rule=rule, side="child"), tau)
    _edge_table(bottom.subplots(), chosen, _matched(beyond), tau)
    return fig


def _select(frame: pd.DataFrame, **wanted) -> pd.DataFrame:
    for column, value in wanted.items():
        if column in frame:
            frame = frame[frame[column] == value]
    return frame


def _tally(flow: pd.DataFrame) -> dict:
    """(source, target, kind) -> (features, share); kind is "part" in the rows that split base and merged."""
    special = {*FATES, *ORIGINS}
    return {(row.source, row.target, "part" if {row.source, row.target} & special else row.kind):
            (float(row.features) if finite(row.features) else 0.0, row.share) for row in flow.itertuples()}


def _live(tally: dict) -> dict:
    """Live features of each model: what persists and emerges into it, or persists and leaves."""
    def total(*keys):
        return sum(tally.get(key, (0.0, 0.0))[0] for key in keys)

    def entering(source, name):
        return total((source, name, "persist"), (source, name, "emerge"))

    def leaving(name, target):
        return total((name, target, "persist"), (name, target, "disappear"))

    return {
        "base": max(total(*(("base", fate, "part") for fate in FATES)), leaving("base", "lua"),
                    leaving("base", "stories")),
        "lua": max(entering("base", "lua"), leaving("lua", "merged")),
        "stories": max(entering("base", "stories"), leaving("stories", "merged")),
        "merged": max(total(*((origin, "merged", "part") for origin in ORIGINS)), entering("lua", "merged"),
                      entering("stories", "merged")),
    }


def _alluvial(ax, tally: dict, ceilings: pd.DataFrame):
    ax.axis("off")
    live = _live(tally)
    if not max(live.values()):
        hint(ax, "no live features")
        return
    pair, tallest = live["lua"] + live["stories"], max(live["base"], live["merged"])
    gap = 0.2 * max(pair, tallest)
    height = max(pair + gap, tallest)
    tops = {name: (height - live[name]) / 2 for name in ("base", "merged")}
    tops["lua"] = (height - pair - gap) / 2
    tops["stories"] = tops["lua"] + live["lua"] + gap
    ax.set(xlim=(-0.66, 2.68), ylim=(1.03 * height, -0.1 * height))
    _from_base(ax, tally, live, tops)
    _into_merged(ax, tally, live, tops)
    for name, top in tops.items():
        ax.add_patch(Rectangle((X[name] - BAR, top), 2 * BAR, live[name], color=MODEL_COLORS[name], lw=0,
                               zorder=4))
        ax.text(X[name], top - 0.015 * height, f"{SHORT_NAMES[name]}\n{count(live[name])} live", ha="center",
                va="bottom", color=ink(MODEL_COLORS[name]), fontweight="bold", fontsize=7, zorder=6)
    _ceiling_marks(ax, ceilings, live, tops)


def _from_base(ax, tally: dict, live: dict, tops: dict):
    """The left half: base's features flow into the children, whose other features fade in."""
    spans, end = _spans(tally, [("base", fate, "part") for fate in FATES], tops["base"])
    if end == tops["base"]:  # no split: Lua's part from the top, Stories' from the bottom, no overlap claimed
        kept = {name: tally.get(("base", name, "persist"), (0.0, 0.0))[0] for name in ("lua", "stories")}
        bottom = tops["base"] + live["base"]
        sources = {"lua": (tops["base"], tops["base"] + kept["lua"]),
                   "stories": (bottom - kept["stories"], bottom)}
    else:
        sources = {"lua": (spans[0][0], spans[1][1]), "stories": (spans[1][0], spans[2][1])}
        _fade(ax, X["base"] + BAR, spans[3], MODEL_COLORS["base"], 1)
        _side_labels(ax, X["base"] - BAR, -1, spans, ("Lua only", "both", "Stories only", "neither"),
                     [tally.get(("base", fate, "part")) for fate in FATES], "kept in")
    for name, up in (("lua", True), ("stories", False)):
        kept, share = tally.get(("base", name, "persist"), (0.0, np.nan))
        top, bottom = tops[name], tops[name] + live[name]
        target = (bottom - kept, bottom) if up else (top, top + kept)
        fresh = (top, bottom - kept) if up else (top + kept, bottom)
        _ribbon(ax, X["base"] + BAR, sources[name], X[name] - BAR, target, MODEL_COLORS[name],
                f"{count(kept)} ({percent(share, 0)})")
        _fade(ax, X[name] - BAR, fresh, MODEL_COLORS[name], -1, "emerge", tally.get(("base", name, "emerge")))


def _into_merged(ax, tally: dict, live: dict, tops: dict):
    """The right half: the children's features flow into the merged model, or fade out."""
    spans, _ = _spans(tally, [(origin, "merged", "part") for origin in ORIGINS], tops["merged"])
    targets = {"lua": (spans[0][0], spans[1][1]), "stories": (spans[1][0], spans[2][1])}
    for name, up in (("lua", True), ("stories", False)):
        gone = tally.get((name, "merged", "disappear"), (0.0, np.nan))
        kept, share = tally.get((name, "merged", "persist"), (0.0, np.nan))
        top, bottom = tops[name], tops[name] + live[name]
        lost = (top, top + gone[0]) if up else (bottom - gone[0], bottom)
        source = (top + gone[0], bottom) if up else (top, bottom - gone[0])
        _ribbon(ax, X[name] + BAR, source, X["merged"] - BAR, targets[name], MODEL_COLORS[name],
                f"{count(kept)} ({percent(share, 0)})")
        _fade(ax, X[name] + BAR, lost, MODEL_COLORS[name], 1, "disappear", gone)
    _fade(ax, X["merged"] - BAR, spans[3], MODEL_COLORS["merged"], -1)
    for (top, bottom), color in zip(spans, ("lua", None, "stories", None), strict=True):
        if color and bottom > top:  # the origin of each part, as a thin edge on the bar
            ax.add_patch(Rectangle((X["merged"] + BAR, top), 0.025, bottom - top, color=MODEL_COLORS[color],
                                   lw=0))
    _side_labels(ax, X["merged"] + BAR, 1, spans, ("Lua only", "both", "Stories only", "new"),
                 [tally.get((origin, "merged", "part")) for origin in ORIGINS], "from")


def _spans(tally: dict, keys: list, start: float) -> tuple[list, float]:
    """Stacks the parts from `start` down: ((top, bottom) of each, the last bottom)."""
    edges = start + np.cumsum([0.0, *(tally.get(key, (0.0, 0.0))[0] for key in keys)])
    return list(zip(edges[:-1], edges[1:], strict=True)), edges[-1]


def _ribbon(ax, x0: float, left: tuple, x1: float, right: tuple, color, label: str):
    if left[1] <= left[0] and right[1] <= right[0]:
        return
    middle = (x0 + x1) / 2
    points = [(x0, left[0]), (middle, left[0]), (middle, right[0]), (x1, right[0]),
              (x1, right[1]), (middle, right[1]), (middle, left[1]), (x0, left[1]), (x0, left[0])]
    codes = [1, 4, 4, 4, 2, 4, 4, 4, 79]
    ax.add_patch(PathPatch(Curve(points, codes), facecolor=color, alpha=0.42, lw=0, zorder=3))
    ax.text(middle, (sum(left) + sum(right)) / 4, label, ha="center", va="center", fontsize=6.3, zorder=7,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "lw": 0})


def _fade(ax, x: float, span: tuple, color, direction: int, verb: str = "", tallied=None):
    """A band that runs out of (direction 1) or into (-1) a bar, ever paler away from it."""
    if span[1] <= span[0]:
        return
    reach = 0.3
    ramp = np.zeros((1, 64, 4))
    ramp[..., :3] = tint(color, 1)
    ramp[..., 3] = 0.42 * np.linspace(1, 0, 64) ** 1.3
    ends = (x, x + reach) if direction > 0 else (x - reach, x)
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(ramp[:, ::direction], extent=(*ends, span[1], span[0]), aspect="auto", interpolation="nearest",
              zorder=2)
    ax.set(xlim=limits[0], ylim=limits[1])
    if tallied:
        ax.text(x + 0.04 * direction, sum(span) / 2,
                f"{verb}\n{count(tallied[0])} ({percent(tallied[1], 0)})",
                ha="left" if direction > 0 else "right", va="center", fontsize=6.3, zorder=7)


def _side_labels(ax, x: float, side: int, spans: list, names, tallied: list, verb: str):
    step = 0.068 * abs(np.subtract(*ax.get_ylim()))
    rows = [(sum(span) / 2, name, row) for span, name, row in zip(spans, names, tallied, strict=True) if row]
    places = spread([row[0] for row in rows], step, low=spans[0][0] + 0.3 * step) if rows else []
    for place, (middle, name, (features, share)) in zip(places, rows, strict=True):
        text = name if name in ("new", "neither") else f"{verb} {name}"
        ax.plot([x + 0.03 * side, x + 0.09 * side], [middle, place], color=GREY, lw=0.5, zorder=5)
        ax.text(x + 0.105 * side, place, f"{text}\n{count(features)} ({percent(share, 0)})", va="center",
                ha="left" if side > 0 else "right", fontsize=6.3, linespacing=1.1)


def _ceiling_marks(ax, rows: pd.DataFrame, live: dict, tops: dict):
    """Where each child's persisting part would end if only the SAE's seed had changed."""
    for row in rows.itertuples():
        if row.parent == "base" and row.child in ("lua",
                                                  "stories") and finite(row.ceiling) and live[row.child]:
            share = row.ceiling if row.child == "stories" else 1 - row.ceiling
            y = tops[row.child] + share * live[row.child]
            ax.plot([1 - BAR, 1 + BAR], [y, y], color="white", lw=1.3, ls=(0, (1.6, 0.9)), zorder=6)


def _curves(panel, curve: pd.DataFrame, tau: float):
    """Share of the child's features with a parent, against the threshold, one small panel per edge."""
    axes = panel.subplots(2, 2, sharex=True, sharey=True)
    for ax, (parent, child) in zip(axes.flat, EDGES, strict=True):
        rows = curve[(curve["parent"] == parent) & (curve["child"] == child)].sort_values("tau")
        color = MODEL_COLORS[child]
        x = rows["tau"].to_numpy(float)
        names = ("observed", "ci_low", "ci_high", "ceiling", "null")
        lines = {name: 100 * rows[name].to_numpy(float) for name in names}
        ax.plot(x, lines["ceiling"], color="#666666", ls=(0, (4, 1.6)), lw=0.9)
        ax.plot(x, lines["null"], color="#666666", ls=":", lw=1.1)
        ax.fill_between(x, lines["ci_low"], lines["ci_high"], color=color, alpha=0.25, lw=0)
        ax.plot(x, lines["observed"], color=color)
        ax.axvline(tau, color="#222222", lw=0.6, ls=(0, (1, 1.5)), zorder=0)
        ax.set_title(f"{SHORT_NAMES[parent]} → {SHORT_NAMES[child]}", fontsize=7, color=ink(color))
        ax.set(xlim=(0, 1), ylim=(0, 103), xticks=(0, 0.5, tau, 1), yticks=(0, 50, 100))
        ax.set_xticklabels(("0", ".5", f"{tau:g}".lstrip("0"), "1"))
        if not np.isfinite(lines["observed"]).any():
            hint(ax, "no live\nfeatures")
    panel.supxlabel("threshold on r", fontsize=7)
    panel.supylabel("child's features with a parent (%)", fontsize=7)
    handles = [Line2D([], [], color=color, ls=style, lw=width) for color, style, width in
               (("#222222", "-", 1.1), ("#666666", (0, (4, 1.6)), 0.9), ("#666666", ":", 1.1))]
    panel.legend(handles, ["observed, 95 % CI", "seed ceiling", "null"], loc="outside upper center", ncols=3,
                 fontsize=6, handlelength=1.5, columnspacing=0.8, handletextpad=0.4)


def _matched(weights: pd.DataFrame | None) -> pd.DataFrame | None:
    """The rows of weights.csv on matches by r of features that are not one neuron, as rows of persistence.csv."""
    if weights is None:
        return None
    rows = _select(weights, features="beyond one neuron", matched_by="r", verdict="r")
    ends = [edge.split(" → ") for edge in rows["edge"]]
    return rows.assign(parent=[parent for parent, _ in ends], child=[child for _, child in ends])


def _edge_table(ax, rows: pd.DataFrame, beyond: pd.DataFrame | None, tau: float):
    """Per edge and side: observed share with its interval, ceiling, null and excess; `beyond` a third time."""
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(8.0, -0.2))
    blocks, legend = [("of the child's features: have a parent", _select(rows, side="child")),
                      ("of the parent's features: survive", _select(rows, side="parent"))], LEGEND
    if beyond is not None:
        blocks.insert(1, ("of the child's that are not one neuron", beyond))
        shares = ", ".join(percent(share, 0) for share in beyond["share"])
        legend += (f" Not one neuron: the decoder lies at a cosine below {tau:g} to every axis of what the SAE reads "
                   f"({shares} of the child's features); intervals draw features, in the other columns documents.")
    step = 0.86 / len(blocks)
    for number, (head, found) in enumerate(blocks):
        left = 0.14 + number * step
        columns = [left, *(left + share * (step - 0.015) for share in (0.66, 0.81, 1.0))]
        ax.text(left, 0.3, head, fontsize=6.3, fontweight="bold", va="center")
        for x, name, align in zip(columns, ("observed [95 % CI]", "ceiling", "null", "excess"),
                                  ("left", *["right"] * 3), strict=True):
            ax.text(x, 1.25, name, fontsize=6.1, color="#555555", va="center", ha=align)
        _edge_rows(ax, found, columns)
    ax.plot([0, 1], [1.8, 1.8], color="#333333", lw=0.5)
    ax.text(0, 6.4, fill(legend, 138), fontsize=6, color="#555555", va="top", linespacing=1.35)


def _edge_rows(ax, rows: pd.DataFrame, columns: list):
    for y, (parent, child) in enumerate(EDGES):
        ax.text(0, 2.35 + y, f"{SHORT_NAMES[parent]} → {SHORT_NAMES[child]}", fontsize=6.5, fontweight="bold",
                color=ink(MODEL_COLORS[child]), va="center")
        row = rows[(rows["parent"] == parent) & (rows["child"] == child)]
        values = row.iloc[0] if len(row) else {}
        interval = [values.get(key) for key in ("ci_low", "ci_high")]
        text = percent(values.get("observed"))
        if all(finite(value) for value in interval):
            text += f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
        cells = (text, percent(values.get("ceiling")), percent(values.get("null")),
                 percent(values.get("excess"), 0))
        for x, cell, align in zip(columns, cells, ("left", *["right"] * 3), strict=True):
            ax.text(x, 2.35 + y, cell, fontsize=6.5, ha=align, va="center")
