"""Figure 2: the flow of features along every edge, with its ceiling, null and thresholds."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots import alluvial
from unifeat.plots.layout import layers
from unifeat.plots.names import arrow
from unifeat.plots.style import LeftOut, crowded, finite, hint, ink, percent, picture, styled

RULES = {"best": "many-to-one", "mutual": "mutual best", "one_to_one": "one-to-one"}
LEGEND = (
    "Flow: percentages of the child's live features, or of the parent's where features disappear; under them the seed "
    "ceiling, that is the same share between two SAEs of one model (white dashes), and the null, in per cent. "
    "Excess = (observed − null) / (ceiling − null)."
)
WIDE = 4  # layers that leave room for the curves beside them
LINE = 0.18  # inches, a line of the table


@styled
def flow(flow: pd.DataFrame, persistence: pd.DataFrame, theme, beyond: pd.DataFrame | None = None,
         arm: str = "controlled", rule: str = "one_to_one", tau: float = 0.8, note: str = ""):
    """Figure 2: which features persist, emerge and disappear, beside seed ceiling, null and every threshold.

    flow: flow.csv: source, target, kind, features, share; see `studies.feature_flow`. persistence: persistence.csv,
    narrowed to `arm` and `rule`. beyond: weights.csv, for the child's features that are not one neuron.
    """
    if not theme.edges:
        return LeftOut("Figure 2 draws the features along the edges of a lineage, and this lineage has no edge.")
    if found := crowded(theme.models, "Figure 2", "data/flow.csv and data/persistence.csv"):
        return found
    rows = _select(persistence, arm=arm, rule=rule)
    chosen = rows[np.isclose(rows["tau"].astype(float), tau)]
    columns, edges = layers(theme), theme.edges
    beside, panels = len(columns) <= WIDE, 2 if len(columns) <= WIDE else 4
    lines = -(-len(edges) // panels)
    tall = max(3.93, 1.0 * lines + 0.8 if beside else 0.0, 1.3 * max(map(len, columns)) + 0.6)
    table = LINE * (len(edges) + 4.2)
    parts = [tall, table] if beside else [tall, 1.15 * lines + 0.5, table]
    fig = picture(sum(parts), note)
    found = fig.subfigures(len(parts), 1, height_ratios=parts)
    left, right = found[0].subfigures(1, 2, width_ratios=(1.9, 1)) if beside else found[:2]
    ax = left.subplots()
    ax.set_title(f"Live features: r ≥ {tau:g}, {RULES.get(rule, rule)}, {arm} SAE initialization", fontsize=7)
    tally, ceilings = _tally(flow), _ceilings(_select(chosen, side="child"), edges)
    alluvial.draw(ax, tally, theme, ceilings)
    alluvial.ceiling_marks(ax, tally, theme, ceilings)
    _curves(right, _select(rows, side="child"), theme, tau, panels)
    _edge_table(found[-1].subplots(), chosen, _matched(beyond), theme, tau)
    return fig


def _select(frame: pd.DataFrame, **wanted) -> pd.DataFrame:
    for column, value in wanted.items():
        if column in frame:
            frame = frame[frame[column] == value]
    return frame


def _tally(flow: pd.DataFrame) -> dict:
    """(source, target, kind) -> (features, share); kind is "part" in the rows that split a model's features."""
    def special(name):
        return name in ("both", "several", "new", "neither") or str(name).endswith(" only")

    return {(row.source, row.target, "part" if special(row.source) or special(row.target) else row.kind):
            (float(row.features) if finite(row.features) else 0.0, row.share) for row in flow.itertuples()}


def _ceilings(rows: pd.DataFrame, edges) -> dict:
    """{edge: (ceiling, null)} of the child's side."""
    return {(row.parent, row.child): (row.ceiling, row.null) for row in rows.itertuples()
            if (row.parent, row.child) in edges and finite(row.ceiling)}


def _curves(panel, curve: pd.DataFrame, theme, tau: float, columns: int):
    """Share of the child's features with a parent, against the threshold, one small panel per edge."""
    columns = min(columns, len(theme.edges))
    axes = panel.subplots(-(-len(theme.edges) // columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[len(theme.edges):]:
        ax.axis("off")
    for ax, (parent, child) in zip(axes, theme.edges, strict=False):
        rows = curve[(curve["parent"] == parent) & (curve["child"] == child)].sort_values("tau")
        color, x = theme.color(child), rows["tau"].to_numpy(float)
        lines = {name: 100 * rows[name].to_numpy(float)
                 for name in ("observed", "ci_low", "ci_high", "ceiling", "null")}
        ax.plot(x, lines["ceiling"], color="#666666", ls=(0, (4, 1.6)), lw=0.9)
        ax.plot(x, lines["null"], color="#666666", ls=":", lw=1.1)
        ax.fill_between(x, lines["ci_low"], lines["ci_high"], color=color, alpha=0.25, lw=0)
        ax.plot(x, lines["observed"], color=color)
        ax.axvline(tau, color="#222222", lw=0.6, ls=(0, (1, 1.5)), zorder=0)
        ax.set_title(arrow(theme, parent, child, 26), fontsize=7 if len(theme.edge(parent, child)) < 20 else 5.5,
                     color=ink(color), parse_math=False)
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


def _edge_table(ax, rows: pd.DataFrame, beyond: pd.DataFrame | None, theme, tau: float):
    """Per edge and side: observed share with its interval, ceiling, null and excess; `beyond` a third time."""
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(len(theme.edges) + 4.0, -0.2))
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
        _edge_rows(ax, found, columns, theme)
    ax.plot([0, 1], [1.8, 1.8], color="#333333", lw=0.5)
    ax.text(0, len(theme.edges) + 2.4, fill(legend, 138), fontsize=6, color="#555555", va="top", linespacing=1.35)


def _edge_rows(ax, rows: pd.DataFrame, columns: list, theme):
    for y, (parent, child) in enumerate(theme.edges):
        ax.text(0, 2.35 + y, arrow(theme, parent, child, 16), fontsize=6.5, fontweight="bold",
                color=ink(theme.color(child)), va="center", parse_math=False)
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
