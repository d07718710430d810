"""Figures of the controls: observed share and ceiling beside the excess, for every variant."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import arrow, legend, level, name_columns
from unifeat.plots.style import GREY, WIDTH, LeftOut, crowded, picture, styled, tint


@styled
def control(frame: pd.DataFrame, label: str, theme, note: str = "", log: bool = False, whose: str = "both sides'"):
    """Left: observed share and seed ceiling per variant; right (below, for long names): excess. Bars: 95 % intervals.

    frame: x (numbers or names), observed, ci_low, ci_high, ceiling, excess, excess_low, excess_high, and optionally
    ceiling_low and ceiling_high, and edge ("a → b", x side by side per edge, the first filled). label: what x is. The
    observed share has the color of the first edge's child. log: x on a logarithmic axis. whose: the
    features that are counted.
    """
    if frame.empty:
        return LeftOut("This control compares a parent with its child, and nothing was measured.")
    grouped = "edge" in frame
    ends = {name for edge in frame["edge"] for name in edge.split(" → ")} if grouped else ()
    if out := crowded(ends, "This control", "its table under data/"):
        return out
    numeric, names = pd.api.types.is_numeric_dtype(frame["x"]), _names(frame, theme, grouped)
    stacked = not numeric and level(names, 0.37 * WIDTH / len(names)) is None
    slanted = stacked and level(names, 0.85 * WIDTH / len(names)) is None
    fig = picture(4.8 if slanted else 3.9 if stacked else 2.35, note)
    axes = fig.subplots(2, 1, sharex=True) if stacked else fig.subplots(1, 2, width_ratios=(1.25, 1))
    x = _places(frame, numeric, grouped)
    color = theme.color(theme.edges[0][1] if theme.edges else next(iter(theme.models), ""))
    _marks(axes[0], x, frame, "ceiling", ("ceiling_low", "ceiling_high"), tint(GREY, 0.9), "D", numeric)
    _marks(axes[0], x, frame, "observed", ("ci_low", "ci_high"), color, "o", numeric)
    _marks(axes[1], x, frame, "excess", ("excess_low", "excess_high"), "#222222", "s", numeric)
    for ax, name, width in zip(axes, (f"share of {whose} features (%)", "excess persistence (%)"),
                               (0.85, 0.85) if stacked else (0.47, 0.37), strict=True):
        drawn = [value for line in ax.lines for value in line.get_ydata() if np.isfinite(value)]
        ax.set(ylabel=name, xlabel="" if stacked and ax is axes[0] else label)
        ax.set_ylim(bottom=0 if min(drawn, default=0) >= 0 else None)
        if numeric and log:
            ax.set_xscale("log")
            ax.set_xticks(x, [f"{value:g}" for value in x])
            ax.minorticks_off()
        elif not numeric:
            name_columns(ax, range(len(names)), names, width * WIDTH / len(names))
            ax.set_xlim(-0.6, len(names) - 0.4)
    legend(fig, [(Line2D([], [], color=color, marker="o"), "observed, r ≥ τ one-to-one"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="D"), "seed ceiling"),
                 (Line2D([], [], color="#222222", marker="s"), "excess = (observed − null) / (ceiling − null)")])
    return fig


def _names(frame: pd.DataFrame, theme, grouped: bool) -> list[str]:
    """What stands under the marks: edges, or the variants, of which domains have their labels."""
    if grouped:
        edges = [edge.split(" → ") for edge in dict.fromkeys(frame["edge"])]
        return [arrow(theme, *edge, room=26).replace(" → ", " →\n") for edge in edges]
    return [theme.domain(name).label if name in theme.domains else str(name) for name in frame["x"]]


FAMILIES = {"length": ("o", "#0072B2"), "width": ("s", "#D55E00"), "k": ("^", "#009E73"),
            "learning rate": ("D", "#CC79A7"), "annealing": ("v", "#7A5195"), "kind": ("P", "#8C6D1F")}
ALONE = {"adopted": ("*", "#222222", "adopted by the profile"),
         "reference": ("*", "white", "the same, shorter (every other mark is one change to it)"),
         "neurons": ("X", "white", "the neurons themselves, never trained (100 % by construction)")}
BESIDE = {"length": (6, -3), "width": (4, -10), "k": (5, 4), "learning rate": (-6, 4), "annealing": (-6, 4),
          "kind": (-5, -9)}  # where a value stands, in points from its mark: neighbours lie close
TOP = 107  # of the axis of ceilings, %, so that a mark at 100 is whole
PANELS = {"ceiling": "all live features", "ceiling_beyond_neuron": "features beyond single neurons"}


@styled
def frontier(frame: pd.DataFrame, goal: dict, note: str = ""):
    """Seed ceiling against cross-entropy recovered, one mark per recipe; bars are 95 % intervals.

    Above: of all live features; below: of those that are no single neuron, which nearly every SAE finds.
    frame: as from `sae_recipes.frontier`; goal: ceiling and ce_recovered_mean that were aimed at (shaded).
    """
    fig = picture(5.6, note)
    axes = fig.subplots(2, 1, sharex=True, sharey=True)
    drawn = 100 * frame["ce_recovered_mean"]
    for ax, (column, title) in zip(axes, PANELS.items(), strict=True):
        ax.axvspan(100 * goal["ce_recovered_mean"], 101, ymin=100 * goal["ceiling"] / TOP, color=tint(GREY, 0.25), lw=0,
                   zorder=0)
        ax.axhline(100 * goal["ceiling"], color=GREY, lw=0.8, ls=":")
        ax.axvline(100 * goal["ce_recovered_mean"], color=GREY, lw=0.8, ls=":")
        _recipes(ax, frame.dropna(subset=[column]), column)
        ax.set_title(title)
        ax.set(ylabel="share that another seed finds again,\none-to-one at r ≥ τ (%)", ylim=(0, TOP),
               xlim=(min(drawn.min(), 90) - 1, max(drawn.max(), 96) + 1))
    axes[1].set_xlabel("cross-entropy recovered against mean ablation (%)")
    handles = [Line2D([], [], ls="", marker=marker, color=color, label=name, markersize=5)
               for name, (marker, color) in FAMILIES.items() if name in set(frame["varied"])]
    handles += [Line2D([], [], ls="", marker=marker, color="#222222", markerfacecolor=face, label=text, markersize=8)
                for name, (marker, face, text) in ALONE.items() if name in set(frame["varied"])]
    legend(fig, [(handle, handle.get_label()) for handle in handles])
    return fig


def _recipes(ax, frame: pd.DataFrame, column: str) -> None:
    """The marks of one panel, each change joined to the recipe that it changes."""
    reference = frame[frame["varied"] == "reference"]
    for name, rows in frame.groupby("varied", sort=False):
        marker, color = FAMILIES.get(name, (ALONE.get(name, "*")[0], "#222222"))
        x, y = 100 * rows["ce_recovered_mean"], 100 * rows[column]
        ax.vlines(x, 100 * rows[f"{column}_low"], 100 * rows[f"{column}_high"], color=color, lw=0.8)
        ax.plot(x, y, ls="", marker=marker, color=color, markersize=5 if name in FAMILIES else 9, zorder=3,
                markerfacecolor=color if name in FAMILIES else ALONE.get(name, ("", color))[1])
        _values(ax, name, color, zip(rows["value"], x, y, strict=True))
        if len(reference) and name in FAMILIES:
            for i, j in zip(x, y, strict=True):
                ax.plot([100 * reference["ce_recovered_mean"].iloc[0], i], [100 * reference[column].iloc[0], j],
                        color=color, lw=0.5, alpha=0.6, zorder=1)


def _values(ax, name: str, color, marks) -> None:
    """The values of one family beside its marks (value, x, y); marks that touch share a line."""
    lines, (right, up) = [], BESIDE.get(name, (6, -3))
    for value, i, j in marks:
        if lines and abs(lines[-1][1] - i) < 0.4 and abs(lines[-1][2] - j) < 6:
            lines[-1][0] += f", {value}"
        elif value:
            lines.append([value, i, j])
    for text, i, j in lines:
        ax.annotate(text, (i, j), (right, 3 if j < 5 else up), textcoords="offset points", fontsize=6.5, color=color,
                    ha="left" if right > 0 else "right")


def _places(frame: pd.DataFrame, numeric: bool, grouped: bool) -> np.ndarray:
    if numeric:
        return frame["x"].to_numpy(float)
    if not grouped:
        return np.arange(len(frame), dtype=float)
    edges, variants = (list(dict.fromkeys(frame[name])) for name in ("edge", "x"))
    return np.array([edges.index(row.edge) + 0.3 * (variants.index(row.x) - (len(variants) - 1) / 2)
                     for row in frame.itertuples()])


def _marks(ax, x, frame: pd.DataFrame, name: str, ends, color, marker: str, joined: bool):
    y = 100 * frame[name].to_numpy(float)
    if all(end in frame for end in ends):
        low, high = (100 * frame[end].to_numpy(float) for end in ends)
        ax.vlines(x, low, high, color=color, lw=1)
    first = (frame["x"] == frame["x"].iloc[0]).to_numpy() if "edge" in frame else np.ones(len(frame), bool)
    for chosen, face in ((first, color), (~first, "white")):
        if chosen.any():
            ax.plot(x[chosen], y[chosen], color=color, marker=marker, markerfacecolor=face, lw=0.9,
                    ls="-" if joined else "")
