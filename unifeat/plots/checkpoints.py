"""The figure of checkpoints x fine-tuning: four findings, a panel each, along the root's training."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import clipped, legend
from unifeat.plots.style import LeftOut, picture, styled, tint

NONE = "No root of this lineage is trained and has a fine-tuned child, so there are no checkpoints to tune."
FORMATS = {"training": "-", "other": "--", "none": ":"}
WORDS = {"training": "header of the tuning", "other": "another header", "none": "no header"}


@styled
def checkpoints(frame: pd.DataFrame, spreads: pd.DataFrame, theme, note: str = ""):
    """Above, by step: loss of checkpoint (dashed) and of the model tuned from it (solid) on the tuned domain, for tasks
    that the root did not see and for those that it saw; the gain, a mark per seed with its interval. Below: the rise of
    the loss on domains that are not tuned, at both rates; the spread over formats of the tuned loss; the tuned loss by
    format.

    frame, spreads: as from `checkpoints.table` and `checkpoints.spreads`.
    """
    if frame.empty:
        return LeftOut(NONE)
    fig = picture(5.6, note)
    axes, steps = fig.subplots(2, 3), np.unique(frame["step"])
    own = frame[(frame["task"] == frame["domain"])]
    told = own[(own["format"] == "training") & (own["arm"] == "tuned")]
    for ax, (seen, title) in zip(axes[0], ((False, "tasks it did not see"), (True, "tasks it saw")), strict=False):
        for task, part in told[told["seen"].astype(bool) == seen].groupby("task", sort=False):
            mean, color = part.groupby("step")[["base_nats", "tuned_nats"]].mean(), theme.domain(task).color
            ax.plot(places(steps, mean.index), mean["base_nats"], color=color, ls="--", lw=1)
            ax.plot(places(steps, mean.index), mean["tuned_nats"], color=color, marker="o", markersize=3, lw=1.2)
        ax.set_title(title)
    axes[0, 0].set_ylabel("loss on the task (nats per token)")
    for task, part in told.groupby("task", sort=False):
        color = theme.domain(task).color
        axes[0, 2].vlines(places(steps, part["step"]), part["gain_low"], part["gain_high"], color=color, lw=0.8)
        axes[0, 2].plot(places(steps, part["step"]), part["gain_nats"], ls="", marker="o", markersize=3, color=color,
                        markerfacecolor="white" if part["seen"].iloc[0] else color)
    axes[0, 2].set(title="what tuning gains", ylabel="gain (nats per token)")
    _forgetting(axes[1, 0], frame, steps)
    for task, part in spreads.groupby("task", sort=False):
        color, mean = theme.domain(task).color, part.groupby("step")["spread"].mean()
        axes[1, 1].plot(places(steps, mean.index), mean, color=color, lw=1.1)
        axes[1, 1].vlines(places(steps, part["step"]), part["spread_low"], part["spread_high"], color=color, lw=0.8)
        axes[1, 1].plot(places(steps, part["step"]), part["spread"], ls="", marker="o", markersize=2.5,
                        color=tint(color, 0.7))
    axes[1, 1].set_ylim(bottom=0)
    axes[1, 1].set(title="spread over formats", ylabel="greatest − least tuned loss (nats)")
    for form, style in FORMATS.items():
        part = own[(own["format"] == form) & (own["arm"] == "tuned") & ~own["seen"].astype(bool)]
        mean = part.groupby("step")["tuned_nats"].mean()
        axes[1, 2].plot(places(steps, mean.index), mean, color="#222222", ls=style, lw=1.1, label=WORDS[form])
    axes[1, 2].legend(fontsize=6.3, frameon=False)
    axes[1, 2].set(title="new tasks, by format", ylabel="tuned loss (nats per token)")
    for ax in axes.ravel():
        step_axis(ax, steps)
    legend(fig, [*((Line2D([], [], color=theme.domain(task).color, marker="o"), clipped(theme.domain(task).label, 20))
                   for task in dict.fromkeys(told["task"])),
                 (Line2D([], [], color="#222222", ls="--"), "checkpoint"), (Line2D([], [], color="#222222"), "tuned"),
                 (Line2D([], [], color="#222222", marker="o", ls="", markerfacecolor="white"), "gain on a seen task")])
    return fig


def _forgetting(ax, frame: pd.DataFrame, steps: np.ndarray) -> None:
    """Mean rise over the domains that are not tuned, of tasks that the root did not see, by arm."""
    rows = frame[(frame["task"] != frame["domain"]) & (frame["format"] == "none") & ~frame["seen"].astype(bool)]
    for arm, (style, words) in {"tuned": ("-", "10 × the children's rate"), "small": (":", "a quarter of that"),
                                "order": ("--", "another order of blocks")}.items():
        part = rows[(rows["arm"] == arm) & (rows["model_seed"] == 0)]
        mean = part.groupby("step")["gain_nats"].mean()
        if arm == "tuned":
            x = places(steps, part["step"]) + spread(part)
            ax.vlines(x, -part["gain_high"], -part["gain_low"], color="#888888", lw=0.6)
            ax.plot(x, -part["gain_nats"], ls="", marker=".", markersize=2.5, color="#888888")
        if len(mean):
            ax.plot(places(steps, mean.index), -mean, color="#222222", ls=style, lw=1.1, label=words)
    ax.axhline(0, color="#222222", lw=0.6)
    ax.legend(fontsize=6.3, frameon=False)
    ax.set(title="forgetting", ylabel="loss on other domains (+ nats)")


def spread(rows: pd.DataFrame) -> np.ndarray:
    """A little to the side, another for every task and domain, so that intervals do not lie on each other."""
    kinds = rows.groupby(["task", "domain"], sort=False).ngroup()
    return (kinds - kinds.max() / 2).to_numpy() * 0.06


def places(steps: np.ndarray, values) -> np.ndarray:
    """Places of steps on the axis: one apart, as they are spaced nearly by factors."""
    return np.searchsorted(steps, values)


def step_axis(ax, steps: np.ndarray) -> None:
    ax.set_xticks(range(len(steps)), [f"{step:,}" for step in steps], rotation=45, ha="right", fontsize=6.3)
    ax.set_xlabel("step of pre-training")
