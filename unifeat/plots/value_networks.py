"""The figure of value networks: what they recover of fine-tuning, on the model they saw and on others."""

import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import legend
from unifeat.plots.style import GREY, LeftOut, picture, styled

NONE = "No root of this lineage is trained and has a fine-tuned child, so there is nothing to carry over."
METHODS = {"residual": ("residual, no norm", "#0072B2", "o"), "residual_0.1": ("norm 0.1", "#56B4E9", "o"),
           "residual_1": ("norm 1", "#56B4E9", "s"), "residual_10": ("norm 10", "#56B4E9", "^"),
           "cascade": ("cascade", "#D55E00", "o"), "pretrained_1": ("pre-trained start, norm 1", "#CC79A7", "o"),
           "proxy": ("proxy tuning", GREY, "D"), "lora": ("LoRA on the target", "#009E73", "D")}


@styled
def value_networks(frame: pd.DataFrame, means: pd.DataFrame, note: str = ""):
    """Left: R per target and method, a hollow mark per language-model seed with its interval over documents, a filled
    one for the mean; 0 is the target alone, 1 the target fine-tuned whole. Right: what the loss on other domains rises.

    frame, means: as from `value_networks.table` and `value_answers.over_seeds`.
    """
    if frame.empty:
        return LeftOut(NONE)
    targets = list(dict.fromkeys(frame["target"]))
    fig = picture(1.6 + 0.72 * len(targets), note)
    left, right = fig.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    own = frame[frame["task"].astype(bool)]
    for y, target in enumerate(targets):
        for at, (method, (_, color, marker)) in enumerate(METHODS.items()):
            place = y + (at - (len(METHODS) - 1) / 2) * 0.11
            part = own[(own["target"] == target) & (own["method"] == method)]
            left.hlines([place] * len(part), part["recovered_low"], part["recovered_high"], color=color, lw=0.6)
            left.plot(part["recovered"], [place] * len(part), ls="", marker=marker, markersize=2.6, color=color,
                      markerfacecolor="white")
            mean = means[(means["target"] == target) & (means["method"] == method)]
            left.plot(mean["recovered"], [place] * len(mean), ls="", marker=marker, markersize=4.6, color=color)
            right.plot(mean["rise_elsewhere"], [place] * len(mean), ls="", marker=marker, markersize=4.6, color=color)
    for ax, line in ((left, (0, 1)), (right, (0,))):
        for x in line:
            ax.axvline(x, color="#222222", lw=0.6)
        ax.tick_params(axis="y", length=0)
    left.set(xlabel="R: share of full fine-tuning's gain", ylim=(len(targets) - 0.5, -0.5))
    left.set_yticks(range(len(targets)), targets)
    right.set(xlabel="loss on other domains (+ nats per token)")
    legend(fig, [*((Line2D([], [], color=color, marker=marker, ls=""), words)
                   for words, color, marker in METHODS.values()),
                 (Line2D([], [], color="#222222", marker="o", ls="", markersize=2.6, markerfacecolor="white"),
                  "a seed of the models")])
    return fig
