"""Figures of notebooks 20 and 21: shares of a real model, by ancestry and text, of models that changed otherwise, and
over training seeds."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import arrow, clipped, legend
from unifeat.plots.style import GREY, LeftOut, crowded, picture, styled, tint

PANELS = {"all": "all features", "beyond_both": "beyond token and neuron"}
NONE = "No root of this lineage is trained and has a fine-tuned child, so ancestry cannot be told from text."
TEXTS = {"common": "SAEs of one common text", "own": "SAEs of each model's own text"}
CHANGES = {"fine-tuned": "fine-tuned on the child's text", "trained_on": "trained on with its own text",
           "random_update": "moved at random, as far as the child", "quantized": "weights rounded",
           "scratch": "from scratch on the child's text", "untrained": "never trained"}


@styled
def ancestry(frame: pd.DataFrame, theme, note: str = ""):
    """Shares (both sides) of the parent with its child, filled, and with a model from scratch, hollow, per text of the
    SAEs: all features, and those beyond token and neuron.

    frame: as from `ancestry.ancestry`.
    """
    if frame.empty:
        return LeftOut(NONE)
    rows = frame[frame["side"] == "both"]
    kinds = [(kind, text) for text in TEXTS for kind in ("child", "none")]
    words = {"child": "its child", "none": "a model from scratch"}
    color = theme.color(rows.loc[rows["ancestry"] == "child", "model"].iloc[0])
    return _dots([f"{words[kind]},\n{TEXTS[text]}" for kind, text in kinds],
                 lambda features: [rows[(rows["ancestry"] == kind) & (rows["sae_text"] == text)
                                        & (rows["features"] == features)] for kind, text in kinds],
                 [color if kind == "child" else "white" for kind, _ in kinds], [color] * len(kinds), note)


@styled
def null_models(frame: pd.DataFrame, theme, note: str = ""):
    """Shares (both sides) of the parent with models that changed in other ways than its child, which is filled.

    frame: as from `ancestry.changes`.
    """
    if frame.empty:
        return LeftOut(NONE)
    rows, kinds = frame[frame["side"] == "both"], [kind for kind in CHANGES if kind in set(frame["change"])]
    color = theme.color(rows.loc[rows["change"] == "fine-tuned", "model"].iloc[0])
    return _dots([CHANGES[kind] for kind in kinds],
                 lambda features: [rows[(rows["change"] == kind) & (rows["features"] == features)] for kind in kinds],
                 [color if kind == "fine-tuned" else "white" for kind in kinds], [color] * len(kinds), note)


@styled
def real_model(frame: pd.DataFrame, theme, note: str = ""):
    """Shares (both sides) of a given model with each model that comes from it, per hook point; those that were trained
    are filled.

    frame: as from `real_model.shares`; theme: that of its lineage.
    """
    if frame.empty:
        return LeftOut("No model comes from the given one in this lineage.")
    rows = frame[frame["side"] == "both"]
    kinds = list(dict.fromkeys(zip(rows["model"], rows["hook"], strict=True)))
    kinds.sort(key=lambda kind: list(dict.fromkeys(rows["hook"])).index(kind[1]))
    trained = set(rows.loc[rows["trained"], "model"])
    colors = [theme.color(model) for model, _ in kinds]
    return _dots([f"{clipped(theme.short(model), 30)},\n{hook}" for model, hook in kinds],
                 lambda features: [rows[(rows["model"] == model) & (rows["hook"] == hook)
                                        & (rows["features"] == features)] for model, hook in kinds],
                 [color if model in trained else "white" for (model, _), color in zip(kinds, colors, strict=True)],
                 colors, note)


@styled
def replicates(frame: pd.DataFrame, theme, note: str = ""):
    """Shares (both sides) of every edge: one mark per language-model seed; the bar is the 95 % interval of their mean.

    frame: as from `replicates.replicates`.
    """
    edges = list(dict.fromkeys(zip(frame["parent"], frame["child"], strict=True)))
    if not edges:
        return LeftOut("The figure of language-model seeds needs a parent and its child, and this lineage has none.")
    if out := crowded({name for edge in edges for name in edge}, "The figure of language-model seeds",
                      "data/replicates.csv"):
        return out
    rows = frame[frame["side"] == "both"]
    return _dots([arrow(theme, *edge) for edge in edges],
                 lambda features: [rows[(rows["parent"] == parent) & (rows["child"] == child)
                                        & (rows["features"] == features)].sort_values(
                                            "model_seed", key=lambda seed: seed != "all") for parent, child in edges],
                 ["white"] * len(edges), [theme.color(child) for _, child in edges], note)


def _dots(names: list[str], chosen, faces: list, colors: list, note: str):
    """Two panels of named rows. chosen(features): a frame per row; the interval drawn is that of its first line."""
    fig = picture(1.25 + 0.42 * len(names), note)
    axes = fig.subplots(1, 2, sharey=True)
    for ax, (features, title) in zip(axes, PANELS.items(), strict=True):
        for y, (part, face, color) in enumerate(zip(chosen(features), faces, colors, strict=True)):
            if part.empty:
                continue
            first, marks = part.iloc[0], part if len(part) == 1 else part[1:]
            ax.plot([100 * first["ci_low"], 100 * first["ci_high"]], [y, y], color=color, lw=2.2, alpha=0.5, zorder=2)
            ax.plot(100 * marks["observed"], np.full(len(marks), y), ls="", marker="o", color=color,
                    markerfacecolor=face, markersize=5, zorder=3)
            ax.plot(100 * marks["ceiling"], np.full(len(marks), y), ls="", marker="D", color=tint(GREY, 0.9),
                    markerfacecolor="white", markersize=4)
            ax.plot(100 * marks["null"], np.full(len(marks), y), ls="", marker="x", color=tint(GREY, 0.9), markersize=4)
        ax.set(title=title, xlabel="features shared with the parent (%, both sides)", xlim=(0, None),
               ylim=(len(names) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), [clipped(name, 60) for name in names])
    legend(fig, [(Line2D([], [], color="#222222", marker="o"), "observed, 95 % interval"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="D", ls="", markerfacecolor="white"), "ceiling"),
                 (Line2D([], [], color=tint(GREY, 0.9), marker="x", ls=""), "null (permuted within the token)")])
    return fig
