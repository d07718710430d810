"""Figures of the other verdicts: the swap matrix, weights and effects of matched pairs, the causal check."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import CHARACTER, arrow, clipped, legend, name_columns
from unifeat.plots.style import GREY, WIDTH, LeftOut, crowded, hint, ink, ordered, picture, styled, tint

VERDICT_NAMES = {"decoder": "decoder cosine", "encoder": "encoder cosine", "logits": "logit effect (r)",
                 "agreement": "ablation: logit changes (r)"}
SHARE_NAMES = {("r", "r"): "by activations:\ntheir r", ("decoder", "decoder"): "by decoders:\ndecoder cosine",
               ("r", "decoder"): "by activations:\ndecoder cosine", ("r", "encoder"): "by activations:\nencoder cosine",
               ("r", "logits"): "by activations:\nlogit effect (r)"}  # (what matches, what judges) in weights.csv
DASHES = ("-", "--", ":", "-.")  # of the first, second ... edge into one child
CEILING = (0, (1, 1))  # dashes of two SAEs of one model


@styled
def swap(frame: pd.DataFrame, theme, note: str = ""):
    """Cross-entropy recovered and variance unexplained by every model's SAEs (rows) on every model (columns).

    frame: swap.csv: sae_model, seed, model, fvu, ce_recovered_mean; cells are means over seeds.
    """
    import seaborn as sns

    rows, columns = (ordered(frame[name], theme.models) for name in ("sae_model", "model"))
    if out := crowded({*rows, *columns}, "The swap of SAEs", "data/swap.csv"):
        return out
    names = [clipped(theme.short(name), 20) for name in rows]
    inches = (WIDTH - 0.4 - CHARACTER * max(map(len, names), default=0)) / 2 / max(len(columns), 1)
    slanted = max((len(theme.short(name)) for name in columns), default=0) * CHARACTER > inches
    fig = picture(1.1 + max(1.2, 0.3 * len(rows)) + 0.4 * slanted, note)
    axes = fig.subplots(1, 2, sharey=True)
    for ax, column, title, more in zip(axes, ("ce_recovered_mean", "fvu"),
                                       ("cross-entropy recovered (%), against mean ablation",
                                        "variance unexplained (%)"), (True, False), strict=True):
        table = 100 * frame.pivot_table(index="sae_model", columns="model", values=column)
        table = table.reindex(rows, columns=columns)
        if table.empty:
            hint(ax, "no SAE")
            continue
        sns.heatmap(table, ax=ax, annot=True, fmt=".1f", cmap="Blues" if more else "Blues_r", cbar=False, vmin=0,
                    vmax=110 if more else max(20, 1.2 * np.nanmax(table.clip(upper=150))), linewidths=1.2,
                    annot_kws={"fontsize": 7})
        ax.set(title=title, xlabel="on the activations of", ylabel="SAEs of" if ax is axes[0] else "")
        ax.tick_params(length=0, rotation=0)
        ax.set_yticks(np.arange(len(rows)) + 0.5, names)
        name_columns(ax, np.arange(len(columns)) + 0.5, [theme.short(name) for name in columns], inches)
    return fig


@styled
def verdicts(found: dict, causal: dict, shares: pd.DataFrame, theme, tau: float = 0.8, note: str = ""):
    """Weights, logit effects and ablation of one-to-one pairs against r of their activations, and shares at tau.

    found: {(parent, child): frame r, decoder, encoder, logits}; causal: {(parent, child): frame r, agreement, random}.
    Dots are pairs; lines are medians over bins of r; grey: strangers (ablation only). In `causal`, (child, child) are
    two SAEs of that model: the ceiling, dotted, of all children together. shares: weights.csv. An edge has the color of
    its child, and a dash of its own where it is not the first into that child.
    """
    edges = list(dict.fromkeys(tuple(edge.split(" → ")) for edge in shares["edge"]))
    if out := crowded({name for edge in (*found, *causal, *edges) for name in edge}, "The figure of verdicts",
                      "data/weights.csv"):
        return out
    if not edges:
        return LeftOut("The figure of verdicts needs a parent and its child, and this lineage has none.")
    twins = {edge: frame for edge, frame in causal.items() if edge[0] == edge[1]}
    causal = {edge: frame for edge, frame in causal.items() if edge not in twins}
    looks = _looks([*found, *causal, *edges], theme)
    below = 0.86 + 0.32 * max(len(edges), 4)
    above = 2.56 + 0.14 * max(0, len(found) + bool(twins) - 4)
    fig = picture(above + below, note)
    top, bottom = fig.subfigures(2, 1, height_ratios=(above, below))
    _against_r(top, found, causal, twins, theme, looks, tau)
    _shares(bottom, shares, edges, theme, tau)
    return fig


def _looks(edges: list, theme) -> dict:
    """Color and dash of each edge."""
    into, out = {}, {}
    for parent, child in edges:
        parents = into.setdefault(child, [])
        if parent not in parents:
            parents.append(parent)
        out[parent, child] = theme.color(child), DASHES[parents.index(parent) % len(DASHES)]
    return out


def _against_r(fig, found: dict, causal: dict, twins: dict, theme, looks: dict, tau: float):
    axes = fig.subplots(1, 4, sharex=True, sharey=True)
    for ax, name in zip(axes, VERDICT_NAMES, strict=True):
        for edge, frame in (causal if name == "agreement" else found).items():
            color, dash = looks[edge]
            thin = frame.iloc[:: max(1, len(frame) // 400)]
            ax.scatter(thin["r"], thin[name], s=2.5, color=tint(color, 0.5), lw=0, alpha=0.6, rasterized=True)
            _medians(ax, frame["r"], frame[name], color, dash)
        if name == "agreement" and causal:
            both = pd.concat(causal.values())
            _medians(ax, both["r"], both["random"], GREY, "-")
        if name == "agreement" and twins:
            both = pd.concat(twins.values())
            _medians(ax, both["r"], both["agreement"], "#222222", CEILING)
        ax.axvline(tau, color="#222222", lw=0.6, ls=(0, (1, 1.5)), zorder=0)
        ax.axhline(tau, color="#222222", lw=0.6, ls=(0, (1, 1.5)), zorder=0)
        ax.set(title=VERDICT_NAMES[name], xlabel="r of the activations", xlim=(0, 1.02), ylim=(-0.3, 1.03),
               xticks=(0, 0.5, tau, 1))
        ax.set_xticklabels(("0", ".5", f"{tau:g}".lstrip("0"), "1"))
    axes[0].set_ylabel("agreement of the pair")
    entries = [(Line2D([], [], color=looks[edge][0], ls=looks[edge][1]), arrow(theme, *edge)) for edge in found]
    legend(fig, [*entries, (Line2D([], [], color=GREY), "the parent's feature and a stranger"),
                 *([(Line2D([], [], color="#222222", ls=CEILING), "two SAEs of one model")] if twins else [])])


def _shares(fig, shares: pd.DataFrame, edges: list, theme, tau: float):
    """One panel per verdict: observed, ceiling and null of every edge, of all features and of those beyond one neuron.
    """
    axes = fig.subplots(1, len(SHARE_NAMES), sharey=True)
    for ax, (key, title) in zip(axes, SHARE_NAMES.items(), strict=True):
        for row in shares[(shares["matched_by"] == key[0]) & (shares["verdict"] == key[1])].itertuples():
            edge, every = tuple(row.edge.split(" → ")), row.features == "all"
            y, color = edges.index(edge) + (-0.16 if every else 0.16), theme.color(edge[1])
            ax.plot([100 * row.null, 100 * row.ceiling], [y, y], color="#DDDDDD", lw=0.8, zorder=0)
            ax.plot([100 * row.ci_low, 100 * row.ci_high], [y, y], color=color, lw=1.4)
            for value, mark, shade in ((row.ceiling, "D", tint(GREY, 0.9)), (row.null, "|", "#222222"),
                                       (row.observed, "o", color)):
                ax.plot(100 * value, y, marker=mark, ls="", color=shade, markersize=5 if mark == "|" else 3.2,
                        markerfacecolor=shade if every else "white", markeredgewidth=0.9)
        ax.set(title=title, xlim=(-3, 100), xticks=(0, 50, 100), ylim=(max(len(edges), 1) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(edges)), [arrow(theme, *edge, room=28) for edge in edges])
    for ax, name in zip(axes, ("child's features (%)",) * 2 + ("pairs (%)",) * 3, strict=True):
        ax.set_xlabel(name)
    dot = dict(ls="", color="#222222", markersize=3.2)
    legend(fig, [(Line2D([], [], marker="o", **dot), f"matched, at {tau:g} or more"),
                 (Line2D([], [], marker="D", **dot | dict(color=tint(GREY, 0.9))), "seed ceiling"),
                 (Line2D([], [], marker="|", **dot | dict(markersize=5)), "greatest null"),
                 (Line2D([], [], marker="o", markerfacecolor="white", **dot), "hollow: features beyond one neuron")])


def _medians(ax, x: pd.Series, y: pd.Series, color, style: str):
    """Median of y in tenths of x that hold at least five pairs."""
    middles, values = [], []
    for low in np.arange(0, 1, 0.1):
        inside = (x >= low) & (x < low + 0.1 + 1e-9) & np.isfinite(y)
        if inside.sum() >= 5:
            middles.append(low + 0.05)
            values.append(y[inside].median())
    ax.plot(middles, values, color=ink(color), lw=1.1, ls=style, marker="o", markersize=2.4)
