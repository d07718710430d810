"""Figures of the controls: observed share and ceiling beside the excess, for every variant."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.style import GREY, MODEL_COLORS, hint, picture, styled, tint


@styled
def control(frame: pd.DataFrame, label: str, note: str = "", log: bool = False):
    """Left: observed share and seed ceiling per variant; right: excess. Bars are 95 % intervals.

    frame: x (numbers or names), observed, ci_low, ci_high, ceiling, excess, excess_low, excess_high, and optionally
    ceiling_low and ceiling_high, and edge (drawn as groups of x). label: what x is. log: x on a logarithmic axis.
    """
    fig = picture(2.35, note)
    axes = fig.subplots(1, 2, width_ratios=(1.25, 1))
    numeric = len(frame) > 0 and pd.api.types.is_numeric_dtype(frame["x"])
    x = frame["x"].to_numpy(float) if numeric else np.arange(len(frame), dtype=float)
    color = MODEL_COLORS["lua"]
    if len(frame):
        _marks(axes[0], x, frame, "ceiling", ("ceiling_low", "ceiling_high"), tint(GREY, 0.9), "D", numeric)
        _marks(axes[0], x, frame, "observed", ("ci_low", "ci_high"), color, "o", numeric)
        _marks(axes[1], x, frame, "excess", ("excess_low", "excess_high"), "#222222", "s", numeric)
    else:
        hint(axes[0], "nothing measured")
    for ax, name in zip(axes, ("share of the child's features (%)", "excess persistence (%)"), strict=True):
        ax.set(ylabel=name, xlabel=label)
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        if numeric and log:
            ax.set_xscale("log")
            ax.set_xticks(x, [f"{value:g}" for value in x])
            ax.minorticks_off()
        elif not numeric:
            names = frame["x"].astype(str)
            names = names if "edge" not in frame else frame["edge"] + "\n" + names
            ax.set_xticks(x, names, fontsize=6 if len(frame) < 7 else 5.2, rotation=0 if len(frame) < 7 else 35,
                          ha="center" if len(frame) < 7 else "right")
            ax.set_xlim(-0.6, max(len(frame) - 0.4, 0.6))
    handles = [Line2D([], [], color=color, marker="o"), Line2D([], [], color=tint(GREY, 0.9), marker="D"),
               Line2D([], [], color="#222222", marker="s")]
    fig.legend(handles, ["observed, r ≥ τ one-to-one", "seed ceiling", "excess = (observed − null) / (ceiling − null)"],
               loc="outside upper center", ncols=3)
    return fig


def _marks(ax, x, frame: pd.DataFrame, name: str, ends, color, marker: str, joined: bool):
    y = 100 * frame[name].to_numpy(float)
    if all(end in frame for end in ends):
        low, high = (100 * frame[end].to_numpy(float) for end in ends)
        ax.vlines(x, low, high, color=color, lw=1)
    ax.plot(x, y, color=color, marker=marker, ls="-" if joined else "", lw=0.9)
