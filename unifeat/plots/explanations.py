"""Figure 6: how well features can be explained, beside what the same explainer reaches on controls."""

import numpy as np
import pandas as pd

from unifeat.plots.style import GREY, MODEL_COLORS, ink, picture, styled

COLORS = (MODEL_COLORS["lua"], MODEL_COLORS["merged"], "#009E73", MODEL_COLORS["base"])
DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
PANELS = (("simulation", "simulation score (Pearson's r)"), ("detection", "detection score (balanced accuracy)"))


@styled
def explanations(frame: pd.DataFrame, note: str = ""):
    """Histograms and ECDFs of explanation scores, one column of panels per score, controls in grey.

    frame: group, kind (features | control), explainer, simulation, detection; scores may be NaN and are then left
    out. The first group of kind features is drawn filled. The legends give n and median of each group.
    """
    fig = picture(4.9, f"Explainer: {', '.join(dict.fromkeys(frame['explainer']))}. {note}".strip())
    axes = fig.subplots(2, 2, height_ratios=(1, 1), sharex="col", squeeze=False)
    styles = _styles(frame)
    for column, (score, label) in enumerate(PANELS):
        top, bottom = axes[:, column]
        bins = np.linspace(*(-0.2, 1.0) if score == "simulation" else (0.3, 1.0), 25)
        for number, (group, style) in enumerate(styles.items()):
            values = frame.loc[frame["group"] == group, score].dropna().clip(bins[0], bins[-1]).to_numpy()
            if not len(values):
                continue
            share = np.full(len(values), 100 / len(values))
            if style["ls"] == "-":
                top.hist(values, bins, weights=share, histtype="stepfilled" if not number else "step",
                         color=style["color"], alpha=0.25 if not number else 1, lw=1)
            x = np.sort(values)
            name = f"{group[0].upper()}{group[1:]} ({len(values):,}; {round(np.median(values), 2) + 0:.2f})"
            bottom.step(np.r_[bins[0], x, bins[-1]], np.r_[0, np.arange(1, len(x) + 1) / len(x), 1] * 100,
                        where="post", label=name, **style)
        top.set(ylabel="share of features (%)" if not column else "")
        bottom.set(xlabel=label, xlim=(bins[0], bins[-1]), ylim=(0, 100),
                   ylabel="features at or below (%)" if not column else "")
        legend = top.legend(*bottom.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(-0.13, 1.02),
                            ncols=2, fontsize=5, title="group (n; median)", title_fontsize=5.6, alignment="left",
                            borderaxespad=0, handlelength=1.6, handletextpad=0.4, columnspacing=0.5)
        for text, style in zip(legend.get_texts(), styles.values(), strict=False):
            text.set_color(ink(style["color"]))
    return fig


def _styles(frame: pd.DataFrame) -> dict:
    """Line of each group: features in color and solid, controls grey and dashed."""
    out, features, controls = {}, iter(COLORS), iter(DASHES)
    for group, kind in frame[["group", "kind"]].drop_duplicates().itertuples(index=False):
        out[group] = (dict(color=next(features, GREY), ls="-", lw=1.1) if kind == "features"
                      else dict(color=GREY, ls=next(controls, "--"), lw=0.9))
    return out
