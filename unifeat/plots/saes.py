"""Figures about the sparse autoencoders: the card that compares them, and the ladder of best matches."""

import re

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import arrow, clipped, legend
from unifeat.plots.style import GREY, crowded, hint, ink, ordered, percent, picture, styled, tint

RULES = {"best": "many-to-one: best match", "one_to_one": "one-to-one partner"}
COLUMNS = (34, 68, 100)  # points right of the ladder's axis: median, share above tau, count
ROOM = 40  # characters of a rung's name
RUNG = re.compile(r"(?P<before>[^:→]+: )?(?P<first>.*?)(?:\s*(?:→|->)\s*(?P<second>.*?))?(?P<after>, .*)?", re.DOTALL)


@styled
def ladder(frame: pd.DataFrame, theme, tau: float = 0.8, note: str = ""):
    """Distribution of match r, one row per comparison, rows gathered in groups (edges, ceilings, nulls).

    frame: comparison (a model, or "a → b", with words before a colon and after a comma), group, r and optionally rule
    (best, one_to_one: a panel each); long form, one row per live feature. The dot is the median, the bar 10-90 %.
    """
    frame = frame.assign(r=frame["r"].astype(float))
    rows = list(dict.fromkeys(zip(frame["group"], frame["comparison"], strict=True)))
    named = {name for _, row in rows for name in RUNG.fullmatch(row).group("first", "second") if name in theme.models}
    if out := crowded(named, "The ladder", "data/ladder.csv"):
        return out
    slots = []  # group headers take a row of their own
    for group in dict.fromkeys(group for group, _ in rows):
        slots += [(group, None)] + [row for row in rows if row[0] == group]
    rules = list(dict.fromkeys(frame["rule"])) if "rule" in frame else [""]
    fig = picture(0.8 + 0.17 * max(len(slots), 4), note)
    axes = fig.subplots(1, max(len(rules), 1), sharey=True, squeeze=False)[0]
    for ax, rule in zip(axes, rules or [""], strict=True):
        columns = COLUMNS if ax is axes[-1] else COLUMNS[:2]
        _ladder_panel(ax, frame[frame["rule"] == rule] if rule else frame, slots, theme, tau, columns)
        ax.set_title(RULES.get(rule, "best match"), fontweight="bold", pad=12)
    for label, (_, comparison) in zip(axes[0].get_yticklabels(), slots, strict=True):
        label.set_fontweight("bold" if comparison is None else "normal")
    return fig


def _ladder_panel(ax, frame: pd.DataFrame, slots: list, theme, tau: float, columns):
    import seaborn as sns

    keys = [f"{group}\n{comparison}" for group, comparison in slots]
    drawn = frame[np.isfinite(frame["r"])].assign(
        key=lambda rest: [f"{g}\n{c}" for g, c in zip(rest["group"], rest["comparison"], strict=True)])
    if len(drawn):
        palette = {key: _ladder_color(theme, *slot) for key, slot in zip(keys, slots, strict=True)}
        sns.violinplot(drawn, x="r", y="key", order=keys, hue="key", hue_order=keys, palette=palette, ax=ax,
                       cut=0, inner=None, density_norm="width", width=0.86, linewidth=0, legend=False, saturation=1)
    for y, (key, (_, comparison)) in enumerate(zip(keys, slots, strict=True)):
        if comparison is not None:
            rows = frame["group"] + "\n" + frame["comparison"] == key
            _ladder_row(ax, y, frame.loc[rows, "r"].to_numpy(), tau, columns)
    _ladder_axis(ax, slots, theme, tau, columns)


def _ladder_color(theme, group: str, comparison: str | None):
    """An edge has the color of its child (the model named last), a ceiling that color paler, a null grey."""
    if comparison is None or any(word in group.lower() for word in ("null", "untrained")):
        return tint(GREY, 0.5)
    first, second = RUNG.fullmatch(comparison).group("first", "second")
    paler = any(word in group.lower() for word in ("ceiling", "neuron"))
    return tint(theme.color(second or first), 0.35 if paler else 0.7)


def _ladder_row(ax, y: int, r: np.ndarray, tau: float, columns):
    total, r = len(r), r[np.isfinite(r)]  # a feature left without a partner counts in the share
    if not len(r):
        ax.text(0.0, y, "no live features", va="center", color=GREY, fontsize=6.3)
        return
    low, middle, high = np.quantile(r, (0.1, 0.5, 0.9))
    ax.plot([low, high], [y, y], color="#222222", lw=1)
    ax.plot(middle, y, marker="o", color="white", markeredgecolor="#222222", markeredgewidth=0.8,
            markersize=3.6)
    texts = (f"{middle:.2f}", percent((r >= tau).sum() / total), f"{total:,}")
    for points, text in zip(columns, texts, strict=False):
        ax.annotate(text, (1, y), (points, 0), ax.get_yaxis_transform(), "offset points", va="center",
                    ha="right",
                    fontsize=6.3)


def _readable(theme, comparison: str) -> str:
    """`a→b, rotated` with the models' short labels; words that name no model stay as they are."""
    before, first, second, after = RUNG.fullmatch(comparison).group("before", "first", "second", "after")
    room = ROOM - len(before or "") - len(after or "")
    if second and first in theme.models:
        middle = arrow(theme, first, second, room)
    else:
        last = second or first
        middle = (f"{first} → " if second else "") + clipped(theme.short(last) if last in theme.models else last, 24)
    return f"{before or ''}{middle}{after or ''}"


def _ladder_axis(ax, slots, theme, tau: float, columns):
    for points, text in zip(columns, ("median", f"r ≥ {tau:g}", "features"), strict=False):
        ax.annotate(text, (1, 1), (points, 2), "axes fraction", "offset points", ha="right", fontsize=6.3,
                    color="#555555")
    ax.axvline(tau, color="#222222", lw=0.7, ls=(0, (4, 2)), zorder=0)
    ax.set(xlim=(-0.02, 1.01), ylabel="", xlabel="Pearson's r (dot: median, bar: 10–90 %)",
            ylim=(len(slots) - 0.4, -0.6))
    ax.set_yticks(range(len(slots)), [group if row is None else _readable(theme, row) for group, row in slots])
    ax.tick_params(axis="y", length=0)


QUALITIES = (  # columns of saes.csv, factor, label
    (("l0",), 1, "L0 (active latents per token)"),
    (("fvu",), 100, "variance unexplained (%)"),
    (("ce_recovered_mean", "ce_recovered_zero"), 100, "cross-entropy recovered (%)"),
    (("dead_share",), 100, "dead latents (%)"),
)


@styled
def sae_card(saes: pd.DataFrame, density: pd.DataFrame, logs: pd.DataFrame | None, theme, note: str = ""):
    """Whether the models' SAEs can be compared: sparsity, reconstruction, dead share, firing densities.

    saes: frame model, kind, seed, l0, fvu, ce_recovered_mean, ce_recovered_zero, dead_share (saes.csv, one arm).
    density: frame model, seed, log10_density, one row per latent; -inf for a latent that never fires.
    logs: frame model, seed, tokens, fvu along training, or None.
    """
    models = ordered([*saes["model"], *density["model"]], theme.models)
    if out := crowded(models, "The card of the SAEs", "data/saes.csv"):
        return out
    extra = max(0, len(models) - 4)
    above, below = 1.55 + 0.15 * extra, 1.95 + (0.15 + 0.075 * len(models) if extra else 0)
    fig = picture(above + below, note)
    top, bottom = fig.subfigures(2, 1, height_ratios=(above, below))
    axes = top.subplots(1, 4, sharey=True)
    for ax, (columns, scale, label) in zip(axes, QUALITIES, strict=True):
        for y, model in enumerate(models):
            _seed_dots(ax, y, saes[saes["model"] == model], columns, scale, theme.color(model))
        ax.set_xlabel(label)
        ax.margins(x=0.12)
        if len(columns) == 1:
            ax.set_xlim(0, max(ax.get_xlim()[1] * 1.06, 1))
        ax.grid(axis="y", lw=0.4, color="#E6E6E6")
    axes[0].set(ylim=(len(models) - 0.4, -0.6))
    axes[0].set_yticks(range(len(models)), [clipped(theme.short(model), 20) for model in models])
    _card_legend(fig)
    known = logs is not None and np.isfinite(logs["fvu"].astype(float)).any()
    panels = bottom.subplots(1, 1 + known, squeeze=False, width_ratios=(1.35, 1)[:1 + known])[0]
    _densities(panels[0], density, models, theme, bottom if extra else None)
    if known:
        _history(panels[1], logs, theme)
    return fig


def _seed_dots(ax, y: int, rows: pd.DataFrame, columns, scale: float, color):
    offsets = np.linspace(-0.2, 0.2, len(rows)) if len(rows) > 1 else [0.0]
    for column in columns:
        values = scale * rows[column].to_numpy(float)
        if np.isfinite(values).any():
            ax.plot([np.nanmean(values)] * 2, [y - 0.32, y + 0.32], color=tint(color, 0.5), lw=1.2)
        face = "white" if column == "ce_recovered_zero" else color
        for offset, value in zip(offsets, values, strict=False):
            ax.plot(value, y + offset, marker="o", ls="", color=color, markerfacecolor=face, markeredgewidth=0.8,
                    markersize=3.6)


def _card_legend(fig):
    dot = {"ls": "", "color": "#444444", "markersize": 3.6}
    entries = [(Line2D([], [], color=GREY, lw=1.2), "mean of seeds"),
               (Line2D([], [], marker="o", **dot), "filled: against mean ablation"),
               (Line2D([], [], marker="o", markerfacecolor="white", **dot), "hollow: against zero ablation")]
    legend(fig, entries, fontsize=6.5, handlelength=1.2, handletextpad=0.5)


def _densities(ax, density: pd.DataFrame, models: list, theme, outside=None):
    """Histograms of firing density; models are named in the panel, or above it in a legend of the figure `outside`."""
    import seaborn as sns

    fires = density[np.isfinite(density["log10_density"].astype(float))]
    if len(fires):
        sns.histplot(fires, x="log10_density", hue="model", hue_order=models,
                     palette={model: theme.color(model) for model in models}, ax=ax,
                     element="step", fill=False, bins=40, linewidth=1.1, legend=False)
    else:
        hint(ax, "no latent fires")
    ax.set(xlabel="firing density (log10 of the share of tokens)", ylabel="latents, all seeds")
    silent = (~np.isfinite(density["log10_density"].astype(float))).groupby(density["model"]).sum()
    names = [f"{clipped(theme.short(model), 24)}, {silent.get(model, 0):,} never fire" for model in models]
    if outside:
        legend(outside, [(Line2D([], [], color=theme.color(model)), name)
                         for model, name in zip(models, names, strict=True)], "outside upper left", fontsize=6.3)
        return
    for k, (model, name) in enumerate(zip(models, names, strict=True)):
        ax.text(0.03, 0.97 - 0.095 * k, name, va="top", transform=ax.transAxes, color=ink(theme.color(model)),
                fontsize=6.3)
    _make_room(ax, 0.95 - 0.095 * len(models))


def _make_room(ax, share: float):
    """Raises the panel's top until no line in its left half reaches above `share` of its height."""
    low, high = ax.get_xlim()
    heights = [y for line in ax.lines for x, y in zip(*line.get_data(), strict=True) if x < low + 0.42 * (high - low)]
    ax.set_ylim(top=max(ax.get_ylim()[1], max(heights, default=0) / share))


def _history(ax, logs: pd.DataFrame, theme):
    for model in ordered(logs["model"], theme.models):
        for _, rows in logs[logs["model"] == model].groupby("seed"):
            ax.plot(rows["tokens"] / 1e6, 100 * rows["fvu"], color=theme.color(model), lw=0.8)
    ax.set(xlabel="activations seen in training (millions)", ylabel="variance unexplained (%)")
