"""Figures of texts and models: how much text there is, how training went, and each model's loss on each domain."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from unifeat.plots.names import CHARACTER, clipped, legend, legend_columns, name_columns
from unifeat.plots.style import GREY, WIDTH, LeftOut, crowded, finite, hint, ink, ordered, picture, spread, styled, tint

UNITS = ((1e9, "GB", "G", "billions"), (1e6, "MB", "M", "millions"), (1e3, "kB", "k", "thousands"))
MATRICES = (  # column of models.csv, title, format, whether more is better
    ("loss_nats", "Loss (nats per token), less is better", "{:.2f}", False),
    ("bits_per_byte", "Bits per byte, less is better", "{:.2f}", False),
    ("accuracy", "Token accuracy (%), more is better", "{:.1f}", True),
)


@styled
def corpora(stats: pd.DataFrame, theme, note: str = ""):
    """Bytes and tokens of every domain, training and held-out text stacked.

    stats: frame domain, split (train | validation), source, documents, bytes, tokens; a domain may have
    several rows per split, one per source.
    """
    domains = ordered(stats["domain"], theme.domains)
    fig = picture(0.94 + 0.38 * max(len(domains), 1), note)
    axes = fig.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
    names = [clipped(theme.domain(domain).label, 26) for domain in domains]
    room = 70 - max(0, max(map(len, names), default=0) - 8)  # long names leave less of the panel
    for ax, column in zip(axes, ("bytes", "tokens"), strict=True):
        most = stats.groupby("domain")[column].sum().max() if len(stats) else 1e6
        scale, *units = next((unit for unit in UNITS if most >= unit[0]), UNITS[-1])
        for y, domain in enumerate(domains):
            rows = stats[stats["domain"] == domain]
            _amounts(ax, y, rows.assign(size=rows[column] / scale), theme.domain(domain).color,
                     units[column == "tokens"], 2 if most / scale < 100 else 0)
            if column == "bytes":
                ax.text(0, y - 0.24, _sources(rows, room), fontsize=5.8, color="#555555")
        ax.set(xlim=(0, 1.28 * most / scale or 1), ylim=(len(domains) - 0.6, -0.62),
               xlabel=f"text ({units[0]})" if column == "bytes" else f"tokens ({units[2]})")
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(domains)), names)
    shades = [Rectangle((0, 0), 1, 1, color=tint("#444444", share)) for share in (1, 0.4)]
    fig.legend(shades, ["training", "held out"], loc="outside upper right", ncols=2)
    return fig


def _amounts(ax, y: int, rows: pd.DataFrame, color, unit: str, digits: int):
    """One domain's bar: training text, then held-out text paler, and both numbers."""
    train, held = (rows.loc[rows["split"] == split, "size"].sum() for split in ("train", "validation"))
    ax.barh(y, train, height=0.36, color=color)
    ax.barh(y, held, left=train, height=0.36, color=tint(color, 0.4))
    ax.text(train + held, y, f"  {train:.{digits}f} + {held:.{digits}f} {unit}", va="center", fontsize=6)


def _sources(rows: pd.DataFrame, room: int) -> str:
    names = "; ".join(dict.fromkeys(rows["source"].astype(str)))
    short = textwrap.shorten(names, room, placeholder=" …")
    return f"{short if len(short) > 2 else clipped(names, room)} ({rows['documents'].sum():,.0f} documents)"


def end_labels(ax, x: float, labels: list[tuple[float, str, object]], gap_share: float = 0.055):
    """Names lines at their right ends, moved apart where they would touch."""
    labels = [label for label in labels if finite(label[0])]
    low, high = ax.get_ylim()
    places = spread([value for value, _, _ in labels], gap_share * (high - low), low, high) if labels else []
    for place, (_, text, color) in zip(places, labels, strict=True):
        ax.annotate(text, (x, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6.3,
                    color=ink(color), annotation_clip=False)


@styled
def loss_curves(logs: pd.DataFrame, theme, note: str = ""):
    """Training loss (thin) and validation loss per domain (marked), one panel per trained model.

    logs: frame model, step, tokens, split (train | validation), domain (validation only), loss (nats per
    token). Where there is room, domains are named at the ends of their curves, else in the legend.
    """
    models = ordered(logs["model"], theme.models)
    if not models:
        return LeftOut("The loss curves need a model that is trained here, and this lineage has none.")
    if out := crowded(models, "The figure of loss curves", "data/loss_curves.csv"):
        return out
    across = len(models) if len(models) <= 4 else -(-len(models) // 2)
    down = -(-len(models) // across)
    domains = ordered(logs.loc[logs["split"] == "validation", "domain"], theme.domains)
    named = across <= 3 and max((len(theme.domain(name).label) for name in domains), default=0) <= 10
    entries = [(Line2D([], [], color=GREY, lw=0.6), "training"),
               (Line2D([], [], color="#444444", marker="o"), "validation, by domain, with its last value")]
    if not named:
        looks = [theme.domain(name) for name in domains]
        entries += [(Line2D([], [], color=look.color, marker=look.marker), clipped(look.label, 28)) for look in looks]
    rows = -(-len(entries) // legend_columns([text for _, text in entries]))
    fig = picture(0.45 + 0.15 * rows + 1.65 * down, note)
    legend(fig, entries, "outside upper right")
    axes = fig.subplots(down, across, squeeze=False)
    for ax, model in zip(axes.flat, models, strict=False):
        _losses(ax, logs[(logs["model"] == model) & np.isfinite(logs["loss"].astype(float))], theme, model, named)
        ax.set_title(_title(theme.model(model), WIDTH / across - 0.3), color=ink(theme.color(model)), fontweight="bold")
    for number, ax in enumerate(axes.flat):
        ax.set_xlabel("training tokens (millions)" if number + across >= len(models) else "")
        if number >= len(models):
            ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("cross-entropy (nats per token)" if down == 1 else "nats per token")
    return fig


def _losses(ax, rows: pd.DataFrame, theme, model: str, named: bool):
    """One model's curves; named: whether domains are named at their ends."""
    train = rows[rows["split"] == "train"].sort_values("tokens")
    ax.plot(train["tokens"] / 1e6, train["loss"], color=tint(theme.color(model), 0.55), lw=0.5)
    held, labels = rows[rows["split"] == "validation"], []
    for domain in ordered(held["domain"], theme.domains):
        curve, look = held[held["domain"] == domain].sort_values("tokens"), theme.domain(domain)
        ax.plot(curve["tokens"] / 1e6, curve["loss"], color=look.color, marker=look.marker)
        last = curve["loss"].iloc[-1]
        labels.append((last, f"{look.label} {last:.2f}" if named else f"{last:.2f}", look.color))
    if rows.empty:
        hint(ax, "no losses logged")
    ax.set_xlim(0, 1.02 * (rows["tokens"].max() / 1e6 if len(rows) else 1.0) or 1)
    ax.xaxis.get_major_locator().set_params(nbins=5)
    end_labels(ax, ax.get_xlim()[1], labels, 0.075)


def _title(look, inches: float) -> str:
    """A model's label over a panel so wide, or its short label where it does not fit."""
    room = int(inches / (1.25 * CHARACTER))
    return look.label if len(look.label) <= room else clipped(look.short, room)


@styled
def domain_matrix(models: pd.DataFrame, theme, note: str = "", ngram_name: str = "Kneser-Ney mixture"):
    """Held-out loss, bits per byte and accuracy of every model on every domain, as heat-maps with numbers.

    models: models.csv: model, domain, split, loss_nats, accuracy (share), bits_per_byte; rows with split
    "validation" are drawn. The model "ngram" is the baseline. Missing numbers leave a blank cell. The best of
    each column is bold; the domains of a model's own (`theme.own`) are outlined.
    """
    rows = models[models["split"] == "validation"] if "split" in models else models
    order, domains = ordered(rows["model"], (*theme.models, "ngram")), ordered(rows["domain"], theme.domains)
    if out := crowded([name for name in order if name != "ngram"], "The domain matrix", "data/models.csv"):
        return out
    note = f"{note} Bold: best of its column; outlined: the model's own text (a merge's is its parents').".strip()
    stacked, height = len(domains) > 5, 0.26 * max(len(order), 1)
    long = max((len(theme.domain(name).label) for name in domains), default=0) > (13 if stacked else 8)
    fig = picture(0.95 + 0.4 * long + (3 * height + 0.8 if stacked else height), note)
    axes = fig.subplots(*((3, 1) if stacked else (1, 3)), sharey=True, sharex=stacked)
    names = [ngram_name if name == "ngram" else clipped(theme.short(name), 24) for name in order]
    inches = (WIDTH - 0.35 - CHARACTER * max(map(len, names), default=0)) / (1 if stacked else 3)
    for ax, (column, title, form, more) in zip(axes, MATRICES, strict=True):
        table = rows.pivot_table(index="model", columns="domain", values=column, aggfunc="mean", observed=False)
        table = table.reindex(index=order, columns=domains).astype(float) * (100 if column == "accuracy" else 1)
        ax.set_title(title, fontsize=7)
        if not np.isfinite(table.to_numpy()).any():
            hint(ax, "not measured")
            continue
        _cells(ax, table, form, more)
        _mark_cells(ax, table, more, theme, inches / len(domains))
        last = not stacked or column == MATRICES[-1][0]
        ax.set(xlabel="held-out text" if last else "", ylabel="")
        name_columns(ax, np.arange(len(domains)) + 0.5, [theme.domain(name).label for name in domains],
                     inches / max(len(domains), 1))
        ax.tick_params(length=0, labelbottom=last)
    if order:
        axes[0].set_yticks(np.arange(len(order)) + 0.5, names, rotation=0)
    axes[0].set_ylabel("model")
    return fig


def _cells(ax, table: pd.DataFrame, form: str, more: bool):
    import seaborn as sns  # takes seconds, and few notebooks draw with it

    text = table.map(lambda value: form.format(value) if finite(value) else "")
    shades = sns.color_palette("Blues", 256)[30:200] if more else sns.color_palette("Blues_r", 256)[56:226]
    sns.heatmap(table, ax=ax, annot=text, fmt="", mask=table.isna(), cbar=False, linewidths=1.2, square=False,
                cmap=ListedColormap(shades), annot_kws={"fontsize": 7})
    ax.tick_params(rotation=0)


def _mark_cells(ax, table: pd.DataFrame, more: bool, theme, inches: float):
    best = {domain: (table[domain].idxmax() if more else table[domain].idxmin())
            for domain in table if table[domain].notna().any()}
    for text in ax.texts:
        column, row = (int(value) for value in text.get_position())
        if best.get(table.columns[column]) == table.index[row]:
            text.set_fontweight("bold")
    gap = min(0.04, 0.018 / inches)  # of a cell so wide
    for row, model in enumerate(table.index):
        for column, domain in enumerate(table.columns):
            if domain in theme.own.get(model, ()):
                ax.add_patch(Rectangle((column + gap, row + 0.05), 1 - 2 * gap, 0.9, fill=False, lw=1.1, zorder=4,
                                       edgecolor=theme.color(model)))
