"""The figure of features that merges keep and lose: against the accuracy they keep, and against their own floors."""

import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.merge_search import NONE
from unifeat.plots.names import clipped, legend
from unifeat.plots.style import GREY, LeftOut, picture, spread, styled, tint

PANELS = {"all": "all features", "beyond_both": "beyond token and neuron"}
NAMES = {"slerp_25": "SLERP, t = 0.25", "slerp_50": "SLERP, t = 0.5", "slerp_75": "SLERP, t = 0.75",
         "linear": "mean of the children", "task_arithmetic": "task arithmetic", "ties": "TIES", "dare": "DARE",
         "fisher": "Fisher-weighted mean", "regmean": "RegMean", "linear_3": "mean with the root",
         "evolver_paper": "Evolver, paper's rule", "evolver_code": "Evolver, code's rule"}
SHARES = {"lost": "features of both parents\nthat the merge lost (%)", "novel": "features of the merge\nin neither (%)"}


@styled
def merge_features(frame: pd.DataFrame, lost: pd.DataFrame, theme, note: str = ""):
    """Above: what each merge keeps of its parents' features (both sides) against what it keeps of their accuracy, means
    over both parents with each parent's interval; grey the ceilings and nulls, and for comparison the weight distance.
    Below: features lost and novel per merge; crosses are what a second SAE of the same model misses.

    frame, lost: as from `merge_features.kept` and `lost`.
    """
    if frame.empty:
        return LeftOut(NONE)
    names = list(dict.fromkeys(frame["merge"]))
    fig = picture(3.4 + 0.17 * len(names) + 1.2, note)
    above, below = fig.subfigures(2, 1, height_ratios=(2.7, 0.17 * len(names) + 1.2))
    axes = above.subplots(1, 3)
    both = frame[frame["side"] == "both"]
    for ax, (features, title) in zip(axes, PANELS.items(), strict=False):
        _kept(ax, both[both["features"] == features], theme, title)
    axes[0].set_ylabel("accuracy kept (% of the parent's)")
    _distance(axes[2], both[both["features"] == "all"], theme)
    parents = list(dict.fromkeys(frame["parent"]))
    for ax, column in zip(below.subplots(1, 2, sharey=True), SHARES, strict=True):
        _lost(ax, lost, column, names)
        if column == "lost":
            ax.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    legend(fig, [*((Line2D([], [], color=theme.color(name), marker="o", ls=""), f"of {clipped(theme.short(name), 20)}")
                   for name in parents),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="D", ls="", markerfacecolor="white"), "ceiling"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="x", ls=""), "null (permuted within the token)"),
                 (Line2D([], [], color="#222222", marker="o", ls=""), "share, 95 % interval"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="+", ls=""), "the same between twins")])
    return fig


def _kept(ax, rows: pd.DataFrame, theme, title: str) -> None:
    for parent, part in rows.groupby("parent", sort=False):
        color = theme.color(parent)
        ax.hlines(100 * part["kept"], 100 * part["ci_low"], 100 * part["ci_high"], color=color, lw=1, alpha=0.5)
        ax.plot(100 * part["observed"], 100 * part["kept"], ls="", marker="o", markersize=3.5, color=color)
        ax.plot(100 * part["ceiling"], 100 * part["kept"], ls="", marker="D", markersize=2.2, color=tint(GREY, 0.9),
                markerfacecolor="white")
        ax.plot(100 * part["null"], 100 * part["kept"], ls="", marker="x", markersize=2.2, color=tint(GREY, 0.9))
    for row in (rows.loc[rows["kept"].idxmin()], rows.loc[rows["kept"].idxmax()]):
        ax.annotate(NAMES.get(row["merge"], row["merge"]), (100 * row["ci_low"], 100 * row["kept"]), (-4, 0),
                    textcoords="offset points", fontsize=6.3, ha="right", va="center")
    ax.set(title=title, xlabel="features kept (%, both sides)", xlim=(0, None))


def _distance(ax, rows: pd.DataFrame, theme) -> None:
    for parent, part in rows.groupby("parent", sort=False):
        ax.plot(part["weight_distance"], 100 * part["kept"], ls="", marker="o", markersize=3.5,
                color=theme.color(parent))
    ax.set(title="distance in weights", xlabel="|merge − parent| / |parent|", xlim=(0, None))


def _lost(ax, lost: pd.DataFrame, column: str, names: list[str]) -> None:
    for y, name in enumerate(names):
        part = lost[lost["merge"] == name]
        for offset, row in zip(spread([0.0] * len(part), 0.22), part.to_dict("records"), strict=True):
            ax.hlines(y + offset, 100 * row[f"{column}_low"], 100 * row[f"{column}_high"], color="#222222", lw=0.9)
            ax.plot(100 * row[column], y + offset, ls="", marker="o", markersize=3.2, color="#222222")
            ax.plot(100 * row[f"{column}_floor"], y + offset, ls="", marker="+", markersize=4, color=tint(GREY, 0.9))
    ax.set(xlabel=SHARES[column].replace("\n", " "), xlim=(0, None), ylim=(len(names) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
