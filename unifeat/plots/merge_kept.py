"""The panel of Figure 5 that compares runs: the share of each parent's accuracy that a merge keeps along t."""

import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.models import end_labels
from unifeat.plots.names import clipped
from unifeat.plots.style import hint, ink, ordered, percent

SOURCES = {"this run": ("-", 1.4, ""), "published": ((0, (4, 1.6)), 1.0, ", paper")}  # line, width, after the name
NAMES = {"this run": "this run", "published": "paper's sweep"}


def draw(ax, theme, parents, kept: pd.DataFrame | None, points: pd.DataFrame | None) -> None:
    """Curves in the parents' colors, this run solid and the published sweep dashed; a ring where both keep the same.

    kept, points: as in `merges.merge_sweep`.
    """
    ax.set_ylabel("accuracy kept on a parent's own text (% of that parent's)")
    if kept is None or not kept["kept"].notna().any():
        hint(ax, "not measured")
        return
    labels = []
    for source in ordered(kept["source"], SOURCES):
        style, width, after = SOURCES[source]
        for parent in parents:
            rows = kept[(kept["source"] == source) & (kept["parent"] == parent)].sort_values("t")
            ax.plot(rows["t"], 100 * rows["kept"], ls=style, lw=width, color=theme.color(parent))
            if len(rows) and (source == "this run" or parent != parents[-1]):  # at t = 1 the second keeps all in both
                labels.append((100 * rows["kept"].iloc[-1], f"{clipped(theme.short(parent), 16)}{after}",
                               theme.color(parent)))
    ax.margins(y=0.04)
    ax.set_ylim(min(0, ax.get_ylim()[0]), max(109, 1.04 * ax.get_ylim()[1]))  # room for words at the top
    end_labels(ax, 1.0, labels, 0.045)
    if points is not None:
        _balanced(ax, points[points["point"] == "balanced"])
        _stated(ax, theme, parents, points[points["point"] == "stated"])


def _balanced(ax, points: pd.DataFrame) -> None:
    """A ring on each crossing; its words stand over the highest one and under the other, where no curve runs."""
    found = points.groupby("source", sort=False)[["t", "kept"]].mean().sort_values("kept", ascending=False)
    for number, (source, row) in enumerate(found.iterrows()):
        at = (row["t"], 100 * row["kept"])
        ax.plot(*at, ls="", marker="o", markersize=5, mfc="white", mec="#222222", mew=0.9, zorder=5)
        x, y = min(max(row["t"], 0.24), 0.76), 0.03 if number else 0.98
        ax.annotate("", at, (x, y), textcoords=("data", "axes fraction"), zorder=3,
                    arrowprops=dict(arrowstyle="-", lw=0.5, color="#888888", shrinkA=0, shrinkB=3))
        ax.text(x, y, f"{NAMES[source]}: both keep\n{percent(row['kept'], 0)} at t = {row['t']:.2f}", ha="center",
                va="bottom" if number else "top", transform=ax.get_xaxis_transform(), fontsize=6.3, linespacing=1.25,
                zorder=4, bbox=dict(boxstyle="square,pad=0.2", fc="white", ec="none"))


def _stated(ax, theme, parents, points: pd.DataFrame) -> None:
    """A diamond on each published curve at the published t, with the share there on its outer side."""
    for row in points.itertuples():
        at, color, falls = (row.t, 100 * row.kept), theme.color(row.parent), row.parent == parents[0]
        ax.plot(*at, ls="", marker="D", markersize=3.2, color=color, zorder=5)
        ax.annotate(percent(row.kept, 0), at, xytext=(4 if falls else -4, 5), textcoords="offset points", va="center",
                    ha="left" if falls else "right", fontsize=6.3, color=ink(color), zorder=6)


def entries(kept: pd.DataFrame | None) -> list:
    """Legend entries of what this panel alone has."""
    if kept is None or "published" not in set(kept["source"]):
        return []
    style, width, _ = SOURCES["published"]
    return [(Line2D([], [], ls=style, lw=width, color="#444444"), "paper's own sweep (right)")]
