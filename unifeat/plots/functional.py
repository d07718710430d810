"""Which features persist by their activations, by what they do, and by both, beside their ceilings."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import arrow, legend
from unifeat.plots.style import GREY, LeftOut, crowded, finite, picture, styled, tint

VERDICTS = {"activation": ("o", "fires alike"), "function": ("s", "does its job"), "joint": ("^", "both")}
STEP = 0.25  # between the three marks of an edge; edges are 1 apart


@styled
def functional(summary: pd.DataFrame, theme, tau: float = 0.8, note: str = ""):
    """Shares of the child's live features that persist: three marks per edge with 95 % intervals, and their ceilings.

    summary: functional.csv. Filled marks are the shares, in the color of the child; hollow grey ones of the same form
    the ceilings. A tick is the greater null: a stranger, or the parent's best other feature, in the partner's place.
    """
    edges = [tuple(edge.split(" → ")) for edge in dict.fromkeys(summary["edge"])]
    if out := crowded({name for edge in edges for name in edge}, "The figure of functions", "data/functional.csv"):
        return out
    if not edges:
        return LeftOut("The figure of functions needs a parent and its child with matched features, and this lineage "
                       "has none.")
    fig = picture(0.95 + 0.46 * max(len(edges), 2), note)
    ax = fig.subplots()
    for y, edge in enumerate(edges):
        rows = summary[summary["edge"] == " → ".join(edge)].set_index("verdict")
        for k, (verdict, (mark, _)) in enumerate(VERDICTS.items()):
            if verdict in rows.index:
                _share(ax, y + STEP * (k - 1), 100 * rows.loc[verdict].drop(["edge", "pairs"]).astype(float), mark,
                       theme.color(edge[1]))
    for y in range(1, len(edges)):
        ax.axhline(y - 0.5, color="#E5E5E5", lw=0.5, zorder=0)
    highest = np.nanmax(100 * summary[["observed", "ci_high", "ceiling", "ceiling_high"]].to_numpy(float))
    ax.set(xlabel="share of the child's live features (%)", xlim=(-1.5, min(101.5, 1.06 * highest + 3)),
           ylim=(len(edges) - 0.5, -0.5))
    ax.set_yticks(range(len(edges)), [arrow(theme, *edge) for edge in edges])
    ax.tick_params(axis="y", length=0)
    legend(fig, _entries(tau))
    return fig


def _share(ax, y: float, row: pd.Series, mark: str, color):
    """One mark with its interval, its ceiling, and the way between them; row in per cent."""
    ceiling = tint(GREY, 0.9)
    ax.plot([row["observed"], row["ceiling"]], [y, y], color="#DDDDDD", lw=0.8, zorder=0)
    for name, shade, fill in (("ceiling", ceiling, "white"), ("observed", color, color)):
        low, high = ("ci_low", "ci_high") if name == "observed" else ("ceiling_low", "ceiling_high")
        ax.plot(row[[low, high]], [y, y], color=shade, lw=1.4 if name == "observed" else 0.8, solid_capstyle="butt")
        ax.plot(row[name], y, marker=mark, ls="", color=shade, markerfacecolor=fill, markersize=4.2,
                markeredgewidth=0.9)
    if finite(null := row[["null", "next_best"]].max()):
        ax.plot(null, y, marker="|", ls="", color="#222222", markersize=5, markeredgewidth=0.9)


def _entries(tau: float) -> list:
    dot = dict(ls="", color="#222222", markersize=4.2)
    marks = [(Line2D([], [], marker=mark, **dot), f"{text} (r ≥ {tau:g})" if verdict == "activation" else text)
             for verdict, (mark, text) in VERDICTS.items()]
    hollow = Line2D([], [], marker="o", **dot | dict(color=tint(GREY, 0.9)), markerfacecolor="white")
    return [*marks, (hollow, "hollow: seed ceiling"),
            (Line2D([], [], marker="|", **dot | dict(markersize=5)), "another feature in its place")]
