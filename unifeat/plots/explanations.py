"""Figure 6: how well features can be explained, beside what the same explainer reaches on controls."""

from collections import Counter

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import clipped
from unifeat.plots.style import GREY, LeftOut, ink, picture, styled
from unifeat.support.theme import DOMAIN_PALETTE

DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
PANELS = (("simulation", "simulation score (Pearson's r)"), ("detection", "detection score (balanced accuracy)"))


@styled
def explanations(frame: pd.DataFrame, theme, note: str = "", split: pd.DataFrame | None = None):
    """Histograms and ECDFs of explanation scores, one column of panels per score, controls in grey.

    split: as from `autointerp.split.split`; then a third row has two marks a group: the mean score of the features that
    the current token decides (filled) and of the others (hollow), bars their 95 % intervals.

    frame: group, kind (features | control), model, explainer, simulation, detection; scores may be NaN and are then
    left out. The first group of kind features is drawn filled. A model's first group has that model's color, its second
    the color of the model's first child (into which those features persist), and further ones a color that no model
    has. The legends give n and median of each group.
    """
    if frame.empty:
        return LeftOut("Figure 6 needs features that are explained, and there are none.")
    styles = _styles(frame, theme)
    long = max(map(len, styles)) > 28
    explainers = ", ".join(dict.fromkeys(frame["explainer"]))
    more = 0 if split is None else 0.55 + 0.14 * len(styles)
    fig = picture(4.9 + 0.3 * long + more, f"Explainer: {explainers}. {note}".strip())
    axes = fig.subplots(3 if more else 2, 2, height_ratios=(2, 2, more)[:3 if more else 2], sharex="col", squeeze=False)
    for column, (score, label) in enumerate(PANELS):
        top, bottom = axes[:2, column]
        bins = np.linspace(*(-0.2, 1.0) if score == "simulation" else (0.3, 1.0), 25)
        drawn = _panels(top, bottom, frame, score, bins, styles)
        top.set(ylabel="share of features (%)" if not column else "")
        bottom.set(xlim=(bins[0], bins[-1]), ylim=(0, 100), ylabel="features at or below (%)" if not column else "")
        axes[-1, column].set_xlabel(label)
        if more:
            _split(axes[2, column], split[split["score"] == score], styles, named=not column)
        legend = top.legend(*bottom.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(-0.13, 1.02),
                            ncols=1 if long else 2, fontsize=5, title="group (n; median)", title_fontsize=5.6,
                            alignment="left", borderaxespad=0, handlelength=1.6, handletextpad=0.4, columnspacing=0.5)
        for text, group in zip(legend.get_texts(), drawn, strict=True):
            text.set_color(ink(styles[group]["color"]))
    if more:
        fig.get_layout_engine().set(w_pad=0.1)  # inches; small names are wider in print than where this is solved
    return fig


def _panels(top, bottom, frame: pd.DataFrame, score: str, bins, styles: dict) -> list[str]:
    """Draws the groups that have scores; returns them."""
    drawn = []
    for number, (group, style) in enumerate(styles.items()):
        values = frame.loc[frame["group"] == group, score].dropna().clip(bins[0], bins[-1]).to_numpy()
        if not len(values):
            continue
        share = np.full(len(values), 100 / len(values))
        if style["ls"] == "-":
            top.hist(values, bins, weights=share, histtype="stepfilled" if not number else "step",
                     color=style["color"], alpha=0.25 if not number else 1, lw=1)
        x = np.sort(values)
        name = f"{clipped(group[0].upper() + group[1:], 60)} ({len(values):,}; {round(np.median(values), 2) + 0:.2f})"
        bottom.step(np.r_[bins[0], x, bins[-1]], np.r_[0, np.arange(1, len(x) + 1) / len(x), 1] * 100,
                    where="post", label=name, **style)
        drawn.append(group)
    return drawn


def _split(ax, split: pd.DataFrame, styles: dict, named: bool) -> None:
    """Two marks a group: features that the token decides above, filled, the others below, hollow."""
    rows = split.set_index(["group", "token"])
    for y, (group, style) in enumerate(styles.items()):
        for token, face, up in ((True, style["color"], -0.16), (False, "white", 0.16)):
            if (group, token) not in rows.index or np.isnan(rows.loc[(group, token), "mean"]):
                continue
            row = rows.loc[(group, token)]
            ax.hlines(y + up, row["ci_low"], row["ci_high"], color=style["color"], lw=1)
            ax.plot(row["mean"], y + up, color=style["color"], marker="o", markerfacecolor=face, markersize=3.5, ls="")
    ax.set(ylim=(len(styles) - 0.5, -0.5), yticks=range(len(styles)))
    ax.set_yticklabels([clipped(group[0].upper() + group[1:], 24) if named else "" for group in styles], fontsize=5.6)
    ax.tick_params(axis="y", pad=1.5)
    handles = [Line2D([], [], ls="", marker="o", color="#222222", markerfacecolor=face, markersize=3.5, label=text)
               for face, text in (("#222222", "the current token decides it"), ("white", "it does not"))]
    if named:
        ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=5.6, borderaxespad=0,
                  title="mean score of a group's features", title_fontsize=5.6, alignment="left", handletextpad=0.2)


def _styles(frame: pd.DataFrame, theme) -> dict:
    """Line of each group: features in color and solid, controls grey and dashed."""
    models = {theme.color(model) for model in theme.models}
    free = iter([color for color in DOMAIN_PALETTE if color not in models])
    out, earlier, controls = {}, Counter(), iter(DASHES)
    for group, rows in frame.groupby("group", sort=False):
        if rows["kind"].iloc[0] == "features":
            model = rows["model"].iloc[0]
            children = [child for parent, child in theme.edges if parent == model]
            wearers = [model, *children[:1]][earlier[model]:]
            earlier[model] += 1
            out[group] = dict(color=theme.color(wearers[0]) if wearers else next(free, GREY), ls="-", lw=1.1)
        else:
            out[group] = dict(color=GREY, ls=next(controls, "--"), lw=0.9)
    return out
