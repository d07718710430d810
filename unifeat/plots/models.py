"""Every figure of the repository: plain frames and arrays in, one matplotlib Figure out.

Charts of corpora and models are here, the others in `controlplot`, `designplot`, `flowplot`, `saeplot`, `tokenplot`
and `verdictplot`, colors and `write` in `style`; all can be called as `plots.<name>`. `note` is the line of small type
at the bottom that says what the numbers were measured on.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from unifeat.plots.agreement import swap, verdicts
from unifeat.plots.controls import control, frontier
from unifeat.plots.design import design
from unifeat.plots.flow import flow
from unifeat.plots.saes import ladder, sae_card
from unifeat.plots.style import (
    DOMAIN_COLORS,
    DOMAIN_MARKERS,
    DOMAIN_NAMES,
    DOMAINS,
    GREY,
    MODEL_COLORS,
    MODEL_NAMES,
    MODELS,
    SHORT_NAMES,
    STYLE,
    finite,
    hint,
    ink,
    name_of,
    ordered,
    picture,
    spread,
    styled,
    tint,
    write,
)
from unifeat.plots.tokens import token_heatmap

__all__ = [
    "DOMAIN_COLORS", "DOMAIN_NAMES", "MODEL_COLORS", "MODEL_NAMES", "STYLE", "control", "corpora", "design",
    "domain_matrix", "flow", "frontier", "ladder", "loss_curves", "merge_sweep", "sae_card", "swap", "token_heatmap",
    "verdicts", "write",
]

OWN_DOMAINS = {"base": ("english", "python"), "lua": ("lua",), "stories": ("stories",)}
MATRICES = (  # column of models.csv, title, format, whether more is better
    ("loss_nats", "Loss (nats per token), less is better", "{:.2f}", False),
    ("bits_per_byte", "Bits per byte, less is better", "{:.2f}", False),
    ("accuracy", "Token accuracy (%), more is better", "{:.1f}", True),
)


@styled
def corpora(stats: pd.DataFrame, note: str = ""):
    """Megabytes and tokens of every domain, training and held-out text stacked.

    stats: frame domain, split (train | validation), source, documents, bytes, tokens; a domain may have
    several rows per split, one per source.
    """
    domains = ordered(stats["domain"], DOMAINS)
    fig = picture(0.62 + 0.46 * max(len(domains), 1), note)
    axes = fig.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
    for ax, column, unit in zip(axes, ("bytes", "tokens"), ("MB", "M"), strict=True):
        for y, domain in enumerate(domains):
            rows = stats[stats["domain"] == domain]
            train, held = (rows.loc[rows["split"] == split, column].sum() / 1e6
                           for split in ("train", "validation"))
            color = DOMAIN_COLORS.get(domain, GREY)
            ax.barh(y, train, height=0.36, color=color)
            ax.barh(y, held, left=train, height=0.36, color=tint(color, 0.4))
            ax.text(train + held, y, f"  {train:.2f} + {held:.2f} {unit}", va="center", fontsize=6)
            if column == "bytes":
                sources = textwrap.shorten("; ".join(dict.fromkeys(rows["source"].astype(str))), 70,
                                           placeholder=" …")
                documents = rows["documents"].sum()
                ax.text(0, y - 0.24, f"{sources} ({documents:,.0f} documents)", fontsize=5.8, color="#555555")
        total = stats.groupby("domain")[column].sum().max() / 1e6 if len(stats) else 1
        ax.set(xlim=(0, 1.28 * total or 1), ylim=(len(domains) - 0.6, -0.62))
        ax.tick_params(axis="y", length=0)
    axes[0].set(xlabel="text (MB)", yticks=range(len(domains)))
    axes[0].set_yticklabels([name_of(domain, DOMAIN_NAMES) for domain in domains])
    axes[1].set(xlabel="tokens (millions)")
    shades = [Rectangle((0, 0), 1, 1, color=tint("#444444", share)) for share in (1, 0.4)]
    fig.legend(shades, ["training", "held out"], loc="outside upper right", ncols=2)
    return fig


def _end_labels(ax, x: float, labels: list[tuple[float, str, object]], gap_share: float = 0.055):
    """Names lines at their right ends, moved apart where they would touch."""
    labels = [label for label in labels if finite(label[0])]
    low, high = ax.get_ylim()
    places = spread([value for value, _, _ in labels], gap_share * (high - low), low, high) if labels else []
    for place, (_, text, color) in zip(places, labels, strict=True):
        ax.annotate(text, (x, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6.3,
                    color=ink(color), annotation_clip=False)


@styled
def loss_curves(logs: pd.DataFrame, note: str = ""):
    """Training loss (thin) and validation loss per domain (marked), one panel per trained model.

    logs: frame model, step, tokens, split (train | validation), domain (validation only), loss (nats per
    token).
    """
    models = ordered(logs["model"], MODELS) or ["base"]
    fig = picture(2.25, note)
    axes = np.atleast_1d(fig.subplots(1, len(models)))
    for ax, model in zip(axes, models, strict=True):
        rows = logs[(logs["model"] == model) & np.isfinite(logs["loss"].astype(float))]
        train = rows[rows["split"] == "train"].sort_values("tokens")
        ax.plot(train["tokens"] / 1e6, train["loss"], color=tint(MODEL_COLORS.get(model, GREY), 0.55), lw=0.5)
        held, labels = rows[rows["split"] == "validation"], []
        for domain in ordered(held["domain"], DOMAINS):
            curve = held[held["domain"] == domain].sort_values("tokens")
            color = DOMAIN_COLORS.get(domain, GREY)
            ax.plot(curve["tokens"] / 1e6, curve["loss"], color=color, marker=DOMAIN_MARKERS.get(domain, "o"))
            labels.append((curve["loss"].iloc[-1],
                           f"{name_of(domain, DOMAIN_NAMES)} {curve['loss'].iloc[-1]:.2f}",
                           color))
        if rows.empty:
            hint(ax, "no losses logged")
        last = rows["tokens"].max() / 1e6 if len(rows) else 1.0
        ax.set_xlim(0, 1.02 * last or 1)
        _end_labels(ax, ax.get_xlim()[1], labels, 0.075)
        ax.set_title(name_of(model, MODEL_NAMES), color=ink(MODEL_COLORS.get(model, GREY)), fontweight="bold")
        ax.set_xlabel("training tokens (millions)")
    axes[0].set_ylabel("cross-entropy (nats per token)")
    handles = [Line2D([], [], color=GREY, lw=0.6), Line2D([], [], color="#444444", marker="o")]
    fig.legend(handles, ["training", "validation, by domain, with its last value"], loc="outside upper right",
               ncols=2)
    return fig


@styled
def domain_matrix(models: pd.DataFrame, note: str = "", ngram_name: str = "Kneser-Ney 5-gram", own=None):
    """Held-out loss, bits per byte and accuracy of every model on every domain, as heat-maps with numbers.

    models: models.csv: model, domain, split, loss_nats, accuracy (share), bits_per_byte; rows with split
    "validation" are drawn. The model "ngram" is the baseline. Missing numbers leave a blank cell. The best of
    each column is bold; cells of the domains a model was trained on (`own`: model -> domains) are outlined.
    """
    import seaborn as sns  # takes seconds, and few notebooks draw with it

    rows = models[models["split"] == "validation"] if "split" in models else models
    order = ordered(rows["model"], (*MODELS, "ngram"))
    domains = ordered(rows["domain"], DOMAINS)
    names = {**SHORT_NAMES, "ngram": ngram_name}
    legend = "Bold: best of its column; outlined: a domain the model was trained on."
    note = f"{note} {legend}".strip()
    fig = picture(0.95 + 0.26 * max(len(order), 1), note)
    axes = fig.subplots(1, 3, sharey=True)
    for ax, (column, title, form, more) in zip(axes, MATRICES, strict=True):
        table = rows.pivot_table(index="model", columns="domain", values=column, aggfunc="mean",
                                 observed=False)
        table = table.reindex(index=order,
                              columns=domains).astype(float) * (100 if column == "accuracy" else 1)
        ax.set_title(title, fontsize=7)
        if not np.isfinite(table.to_numpy()).any():
            hint(ax, "not measured")
            continue
        text = table.map(lambda value, form=form: form.format(value) if finite(value) else "")
        shades = sns.color_palette("Blues" if more else "Blues_r", 256)[30:200] if more else \
            sns.color_palette("Blues_r", 256)[56:226]
        sns.heatmap(table, ax=ax, annot=text, fmt="", mask=table.isna(), cbar=False, linewidths=1.2,
                    square=False,
                    cmap=ListedColormap(shades), annot_kws={"fontsize": 7})
        _mark_cells(ax, table, more, OWN_DOMAINS if own is None else own)
        ax.set(xlabel="held-out text", ylabel="",
               xticklabels=[name_of(domain, DOMAIN_NAMES) for domain in domains])
        ax.tick_params(length=0, rotation=0)
    if order:
        axes[0].set_yticks(np.arange(len(order)) + 0.5, [name_of(model, names) for model in order])
    axes[0].set_ylabel("model")
    return fig


def _mark_cells(ax, table: pd.DataFrame, more: bool, own: dict):
    best = {domain: (table[domain].idxmax() if more else table[domain].idxmin())
            for domain in table if table[domain].notna().any()}
    for text in ax.texts:
        column, row = (int(value) for value in text.get_position())
        if best.get(table.columns[column]) == table.index[row]:
            text.set_fontweight("bold")
    for row, model in enumerate(table.index):
        for column, domain in enumerate(table.columns):
            if domain in own.get(model, ()):
                ax.add_patch(Rectangle((column + 0.04, row + 0.05), 0.92, 0.9, fill=False, lw=1.1, zorder=4,
                                       edgecolor=MODEL_COLORS.get(model, GREY)))


@styled
def merge_sweep(sweep: pd.DataFrame, models: pd.DataFrame, picked=None, published_t: float = 0.58,
                note: str = ""):
    """Accuracy and loss of the merge along t, with lerp beside slerp, parents and base as horizontal lines.

    sweep: frame method (slerp | lerp), t, domain, loss_nats, accuracy. models: models.csv.
    picked: the t of this run's merged model; published_t: that of the paper.
    """
    fig = picture(2.75, note)
    axes = fig.subplots(1, 2)
    for ax, column, scale, label in zip(axes, ("accuracy", "loss_nats"), (100, 1),
                                        ("next-token accuracy (%)", "cross-entropy (nats per token)"),
                                        strict=True):
        labels = []
        for domain in ordered(sweep["domain"], ("lua", "stories", "english", "python")):
            labels += _sweep_domain(ax, sweep, models, domain, column, scale)
        ax.set(xlabel="t (0 = Lua, 1 = Stories)", ylabel=label, xlim=(0, 1), xticks=np.linspace(0, 1, 6))
        ax.margins(y=0.04)
        _end_labels(ax, 1.0, labels)
        for t, style in ((picked, "-"), (published_t, (0, (1, 1.5)))):
            if finite(t):
                ax.axvline(t, color="#222222", lw=0.8, ls=style, zorder=1)
    _sweep_legend(fig, picked, published_t)
    return fig


def _sweep_domain(ax, sweep, models, domain: str, column: str, scale: float) -> list:
    """Draws one domain's lines; returns the label of its right end."""
    color, main = DOMAIN_COLORS.get(domain, GREY), domain in ("lua", "stories")
    color = MODEL_COLORS[domain] if main else color
    strength, end = (1.0 if main else 0.45), []
    for method, style in (("slerp", "-"), ("lerp", ":")):
        rows = sweep[(sweep["domain"] == domain) & (sweep["method"] == method)].sort_values("t")
        if rows.empty:
            continue
        marker = {"marker": "o", "markersize": 2.2} if main and method == "slerp" else {}
        ax.plot(rows["t"], scale * rows[column], ls=style, lw=1.2 if main else 0.8, color=color,
                alpha=strength,
                **marker)
        if method == "slerp":
            end = [(scale * rows[column].iloc[-1], f"on {name_of(domain, DOMAIN_NAMES)}", color)]
    held = models[(models["domain"] == domain) & (models["split"] == "validation")].set_index("model")[column]
    for model, style in (("lua", (0, (5, 2))), ("stories", (0, (5, 2))), ("base", (0, (4, 1.5, 1, 1.5)))):
        drawn = model == "base" or model == domain
        if main and drawn and finite(held.get(model)):
            ax.axhline(scale * held[model], color=color if model != "base" else tint(color, 0.6), lw=0.7,
                       ls=style)
    return end


def _sweep_legend(fig, picked, published_t):
    line = {"color": "#444444"}
    entries = [
        (Line2D([], [], lw=1.2, marker="o", markersize=2.2, **line), "slerp"),
        (Line2D([], [], ls=":", lw=1.2, **line), "lerp"),
        (Line2D([], [], ls=(0, (5, 2)), lw=0.7, **line), "the domain's own parent"),
        (Line2D([], [], ls=(0, (4, 1.5, 1, 1.5)), lw=0.7, **line), "base"),
    ]
    if finite(picked):
        entries.append((Line2D([], [], color="#222222", lw=0.8), f"chosen, t = {picked:.2f}"))
    if finite(published_t):
        entries.append((Line2D([], [], color="#222222", lw=0.8, ls=(0, (1, 1.5))),
                        f"paper, t = {published_t:.2f}"))
    fig.legend(*zip(*entries, strict=True), loc="outside upper center", ncols=len(entries))
