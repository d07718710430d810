"""The figure of value networks from inside: the norm's weight, the logits, the features."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import legend
from unifeat.plots.style import GREY, LeftOut, picture, styled
from unifeat.plots.value_networks import METHODS, NONE

SHOWN = ("residual", "residual_1", "cascade", "pretrained_1")  # of METHODS
NETWORKS = {"value": "residual", "value_1": "residual_1", "value_pretrained": "pretrained_1"}
WHERE = {"seen": ("the root, which it saw", "#222222", "o"), "unseen": ("models it never saw", "#009E73", "s")}


@styled
def value_details(norms: pd.DataFrame, differences: pd.DataFrame, features: pd.DataFrame, tuned: str = "tuned",
                  note: str = ""):
    """Left: R against the norm's weight, on the root and on models that the value network never saw. Middle: the mean
    of z_D against the true difference that fine-tuning makes, on the root; dashed: equal. Right: the share of a value
    network's features with a partner in the root and in the fine-tuned root, with ceiling and nulls.

    norms: as from `value_answers.by_norm`; differences, features: as from `value_differences.differences` and
    `value_features.shared`; tuned: the name of the fine-tuned root.
    """
    if norms.empty:
        return LeftOut(NONE)
    fig = picture(3.1, note)
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1, 1.3))
    _norms(left, norms)
    for method in SHOWN:
        words, color, marker = METHODS[method]
        line = differences[differences["method"] == method].groupby("bin")[["true", "value"]].mean()
        middle.plot(line["true"], line["value"], color=color, marker=marker, markersize=2.6, lw=0.9)
    ends = differences["true"].min(), differences["true"].max()
    middle.plot(ends, ends, color="#222222", lw=0.6, ls="--")
    middle.set(xlabel="true difference (nats)", ylabel="logit added (nats)")
    _features(right, features[(features["features"] == "all") & (features["side"] == "child")], tuned)
    legend(fig, [*((Line2D([], [], color=color, marker=marker, ls="-", lw=0.9), words)
                   for words, color, marker in WHERE.values()),
                 *((Line2D([], [], color=METHODS[method][1], marker=METHODS[method][2], ls=""), METHODS[method][0])
                   for method in SHOWN),
                 (Line2D([], [], color="#222222", marker="_", ls="", markersize=8), "ceiling"),
                 (Line2D([], [], color=GREY, marker="_", ls="", markersize=8), "null within tokens, untrained")])
    return fig


def _norms(ax, norms: pd.DataFrame) -> None:
    weights = sorted(norms["norm"].unique())
    for where, (_, color, marker) in WHERE.items():
        part = norms[norms["where"] == where].sort_values("norm")
        at = np.array([weights.index(norm) for norm in part["norm"]]) + (0.06 if where == "unseen" else -0.06)
        ax.vlines(at, part["low"], part["high"], color=color, lw=0.8)
        ax.plot(at, part["recovered"], color=color, marker=marker, markersize=3.6, lw=0.9)
    ax.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    ax.set(xlabel="weight of the norm", ylabel="R: share of full fine-tuning's gain")


def _features(ax, part: pd.DataFrame, tuned: str) -> None:
    parents = [name for name in dict.fromkeys(part["parent"]) if name != tuned] + [tuned]
    for x, parent in enumerate(parents):
        for at, (child, method) in enumerate(NETWORKS.items()):
            rows, place = part[(part["parent"] == parent) & (part["child"] == child)], x + (at - 1) * 0.22
            color, marker = METHODS[method][1:]
            ax.vlines(place + np.linspace(-0.05, 0.05, len(rows)), 100 * rows["ci_low"], 100 * rows["ci_high"],
                      color=color, lw=0.6)
            ax.plot([place], [100 * rows["observed"].mean()], ls="", marker=marker, markersize=4.2, color=color)
            ax.hlines([100 * rows["ceiling"].mean()], place - 0.09, place + 0.09, color="#222222", lw=1)
            ax.hlines(100 * rows[["null", "null_untrained"]].mean(), place - 0.09, place + 0.09, color=GREY, lw=1)
    ax.set_xticks(range(len(parents)), ["the root", "the fine-tuned root"])
    ax.set(xlim=(-0.5, len(parents) - 0.5), ylim=(0, None), ylabel="features with a partner in it (%)")
