"""The figure of doses: what persists against what was learned."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import clipped, legend
from unifeat.plots.style import GREY, LeftOut, crowded, ink, picture, styled, tint

ACROSS = 2  # panels of children in a row
SETS = {"all": ("o", "-", True), "beyond_both": ("s", "--", False)}


@styled
def dose(frame: pd.DataFrame, merges: pd.DataFrame, theme, note: str = ""):
    """Above, a panel per child: the share that persists (both sides) against what the child learned, a line per set of
    features; its ceiling and null in grey, the dose beside each mark. Below: what the child forgot, how many neurons
    stay, and what the merge of the children keeps, by dose.

    frame, merges: as from `dose.doses` and `dose.merged`; several training seeds are marks of their own, the lines are
    their means.
    """
    children = list(dict.fromkeys(frame["child"]))
    if not children:
        return LeftOut("The doses are of children that are fine-tuned from the first root, and this lineage has none.")
    if out := crowded(children, "The figure of doses", "data/dose.csv"):
        return out
    columns = min(len(children), ACROSS)
    rows, both = -(-len(children) // columns), frame[frame["side"] == "both"]
    fig = picture(2.3 + 2.6 * rows, note)
    grid = fig.add_gridspec(rows + 1, 3 * columns, height_ratios=(*[1.35] * rows, 1))
    for place, child in enumerate(children):
        down, across = divmod(place, columns)
        ax = fig.add_subplot(grid[down, 3 * across:3 * across + 3])
        _learned(ax, both[both["child"] == child], theme, child)
        if not across:
            ax.set_ylabel("features that persist\n(%, both sides)")
    axes = [fig.add_subplot(grid[rows, place * columns:(place + 1) * columns]) for place in range(3)]
    for ax, column, name in zip(axes, ("forgetting_nats", "neuron_r"),
                                ("loss on the parent's text (+ nats)", "r of a neuron with itself"), strict=False):
        _by_dose(ax, both[both["features"] == "all"], column, children, theme)
        ax.set_ylabel(name)
    axes[1].set_ylim(0, 1.05)
    _merges(axes[2], merges, theme)
    lines = [(Line2D([], [], color="#222222", marker="o"), "all features"),
             (Line2D([], [], color="#222222", marker="s", ls="--", markerfacecolor="white"),
              "beyond token and neuron"),
             (Line2D([], [], color=tint(GREY, 0.9), marker="_", ls=""), "ceiling (seed twins)"),
             (Line2D([], [], color=tint(GREY, 0.9), marker="x", ls=""), "null (permuted within the token)"),
             (Line2D([], [], color="#222222", marker="D", markerfacecolor="white"), "accuracy the merge keeps")]
    legend(fig, lines)
    return fig


def _learned(ax, rows: pd.DataFrame, theme, child: str) -> None:
    color = theme.color(child)
    for name, (marker, style, filled) in SETS.items():
        part = rows[rows["features"] == name]
        mean = part.groupby("dose")[["gain_nats", "observed", "ceiling", "null"]].mean()
        ax.plot(mean["gain_nats"], 100 * mean["observed"], color=color, ls=style, lw=1.2, zorder=2)
        ax.vlines(part["gain_nats"], 100 * part["ci_low"], 100 * part["ci_high"], color=color, lw=0.8)
        ax.plot(part["gain_nats"], 100 * part["observed"], ls="", marker=marker, color=color, markersize=4,
                markerfacecolor=color if filled else "white", zorder=3)
        ax.plot(mean["gain_nats"], 100 * mean["ceiling"], ls=style, lw=0.6, marker="_", color=tint(GREY, 0.9))
        ax.plot(mean["gain_nats"], 100 * mean["null"], ls=style, lw=0.6, marker="x", markersize=3,
                color=tint(GREY, 0.9))
        if filled:
            for value, row in mean.iterrows():
                ax.annotate(f"{value:g}×", (row["gain_nats"], 100 * row["observed"]), (4, 4),
                            textcoords="offset points", fontsize=6.3, color=ink(color))
    ax.set(title=clipped(theme.model(child).label, 26), xlabel="learned: gain on its own text (nats per token)",
           ylim=(0, None))


def _by_dose(ax, rows: pd.DataFrame, column: str, children: list[str], theme) -> None:
    for child in children:
        part = rows[rows["child"] == child]
        mean = part.groupby("dose")[column].mean()
        ax.plot(mean.index, mean, color=theme.color(child), lw=1)
        ax.plot(part["dose"], part[column], color=theme.color(child), ls="", marker="o", markersize=3)
    _doses(ax, rows["dose"])


def _merges(ax, merges: pd.DataFrame, theme) -> None:
    """Share of accuracy and of features that the merge keeps, mean over its parents, by dose."""
    if merges.empty:
        ax.text(0.5, 0.5, "no merge of these children", ha="center", va="center", fontsize=7,
                transform=ax.transAxes)
        ax.set_axis_off()
        return
    rows = merges[merges["side"] == "both"]
    for name, one in rows.groupby("merge", sort=False):
        color = theme.color(name)
        kept = one.groupby("dose")["kept"].mean()
        ax.plot(kept.index, 100 * kept, color=color, marker="D", markersize=3.5, markerfacecolor="white", lw=1)
        for features, (marker, style, filled) in SETS.items():
            mean = one[one["features"] == features].groupby("dose")["observed"].mean()
            ax.plot(mean.index, 100 * mean, color=color, ls=style, marker=marker, markersize=3.5, lw=1,
                    markerfacecolor=color if filled else "white")
    _doses(ax, rows["dose"])
    ax.set(ylabel="the merge keeps (%)", ylim=(0, None))


def _doses(ax, doses: pd.Series) -> None:
    ax.set_xscale("log")
    places = np.unique(doses)
    ax.set_xticks(places, [f"{value:g}" for value in places], fontsize=6.5)
    ax.minorticks_off()
    ax.set_xlabel("dose (× the child's rate)")
