"""The figure of features along training and along a merge: what is there already, births, drift and deaths."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.checkpoints import NONE, places, step_axis
from unifeat.plots.names import clipped, legend
from unifeat.plots.style import GREY, LeftOut, ordered, picture, styled, tint

SETS = {"all": ("o", "-", "#222222"), "beyond_both": ("s", "--", "#222222")}
PATHS = {"training": ("#0072B2", "along training"), "merge": ("#D55E00", "along the merge")}
ORDERS = {"as trained": "-", "shuffled": ":"}


@styled
def life_histories(shared: pd.DataFrame, lives: pd.DataFrame, survival: pd.DataFrame, cohorts: pd.DataFrame,
                   drift: pd.DataFrame, joined: pd.DataFrame, steps: list[int], theme, note: str = ""):
    """Above: the share of a checkpoint's features that the last one has too, with ceiling and null; how long lives of
    warm-started latents last, in the models' order and in a random one; the share that lasts to the end, by birth.
    Below: how far latents drift from one model to the next; where the latents of the end were born, by domain; what
    tuning gains against the features of the end that are there already.

    All frames are as from `life_histories`; steps: of the checkpoints, whose places are `born`.
    """
    if shared.empty:
        return LeftOut(NONE)
    fig, at = picture(5.8, note), np.array(steps)
    axes = fig.subplots(2, 3)
    for features, (marker, style, color) in SETS.items():
        part = shared[(shared["side"] == "parent") & (shared["features"] == features)]
        x = places(at, part["step"])
        axes[0, 0].vlines(x, 100 * part["ci_low"], 100 * part["ci_high"], color=color, lw=0.8)
        axes[0, 0].plot(x, 100 * part["observed"], color=color, ls=style, marker=marker, markersize=3.5,
                        markerfacecolor=color if features == "all" else "white")
        axes[0, 0].plot(x, 100 * part["ceiling"], ls=style, lw=0.6, marker="_", color=tint(GREY, 0.9))
        axes[0, 0].plot(x, 100 * part["null"], ls=style, lw=0.6, marker="x", markersize=3, color=tint(GREY, 0.9))
    axes[0, 0].set(title="found in the last checkpoint", ylabel="of the checkpoint's features (%)", ylim=(0, None))
    for (path, order, _), part in survival.groupby(["path", "order", "seed"], sort=False):
        color = PATHS[path][0]
        axes[0, 1].fill_between(part["lived"], 100 * part["low"], 100 * part["high"], color=color, alpha=0.15, lw=0)
        axes[0, 1].plot(part["lived"], 100 * part["alive"], color=color, ls=ORDERS[order], lw=1.1)
    axes[0, 1].set(title="survival", xlabel="models passed on to", ylabel="lives that last so long (%)", ylim=(0, 100))
    for (path, _), part in cohorts.groupby(["path", "seed"], sort=False):
        part = part[part["born"] < cohorts.loc[cohorts["path"] == path, "born"].max()]  # at the end all are alive
        axes[0, 2].errorbar(part["born"], 100 * part["alive_at_end"], 100 * np.abs(
            part[["low", "high"]].to_numpy().T - part["alive_at_end"].to_numpy()), color=PATHS[path][0], lw=1,
            elinewidth=0.7, marker="o", markersize=2.5)
    axes[0, 2].set(title="alive at the end, by birth", xlabel="place of birth on the path",
                   ylabel="lives that last to the end (%)", ylim=(0, 100))
    _drift(axes[1, 0], drift)
    _births(fig, axes[1, 1], lives, at, theme)
    for task, part in joined.groupby("task", sort=False):
        axes[1, 2].plot(100 * part["features_of_the_end"], part["gain_nats"], marker="o", markersize=3, lw=0.7,
                        color=theme.domain(task).color, label=clipped(theme.domain(task).label, 18))
    axes[1, 2].legend(fontsize=6.3, frameon=False)
    axes[1, 2].set(title="features there, and gain", xlabel="of the last one's features (%)",
                   ylabel="gain of tuning (nats per token)")
    step_axis(axes[0, 0], at)
    legend(fig, [(Line2D([], [], color="#222222", marker="o"), "all features"),
                 (Line2D([], [], color="#222222", marker="s", ls="--", markerfacecolor="white"),
                  "beyond token and neuron"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="_"), "ceiling"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="x", ls=""), "null (permuted within the token)"),
                 *((Line2D([], [], color=color), words) for color, words in PATHS.values()),
                 (Line2D([], [], color="#222222", ls=":"), "models in a random order")])
    return fig


def _drift(ax, drift: pd.DataFrame) -> None:
    for path, (color, _) in PATHS.items():
        for _, part in drift[drift["path"] == path].groupby("seed"):
            x = np.linspace(0, 1, len(part) + 1)[1:]
            ax.plot(x, part["r_median"], color=color, lw=1.1, marker="o", markersize=2.5)
            ax.plot(x, part["cosine_median"], color=color, lw=0.9, ls="--")
    ax.set(title="drift from model to model", xlabel="place on the path", xlim=(0, 1.05), ylim=(0, 1.02),
           ylabel="median r (solid), cosine (dashed)")


def _births(fig, ax, lives: pd.DataFrame, steps: np.ndarray, theme) -> None:
    """Of the lives that last to the end of training: by birth and the domain where the latent then fires most."""
    rows = lives[(lives["path"] == "training") & (lives["order"] == "as trained") & ~lives["died"].astype(bool)]
    domains = ordered(rows["domain"], theme.domains)
    counts = np.array([[((rows["born"] == born) & (rows["domain"] == domain)).sum() for born in range(len(steps))]
                       for domain in domains]).reshape(len(domains), len(steps))
    shown = 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))
    drawn = ax.imshow(shown, cmap="cividis_r", aspect="auto", vmin=0)
    ax.set_yticks(range(len(domains)), [clipped(theme.domain(name).label, 12) for name in domains])
    ax.grid(False)
    ax.tick_params(length=0)
    fig.colorbar(drawn, ax=ax, shrink=0.8).set_label("% of the domain's", fontsize=6.3)
    step_axis(ax, steps)
    ax.set(title="birth of the latents of the end", xlabel="step of birth")
