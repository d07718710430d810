"""Figure 1: the design of the experiment, drawn from the run's own configuration and counts."""

import textwrap

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from unifeat.plots.layout import layers
from unifeat.plots.style import WIDTH, count, crowded, finite, ink, percent, picture, short, styled, tint

BOX, STRIP = (1.86, 0.86), 0.36  # inches: a model, its SAE below it
SLOT, GAP, TOP, EDGE = 1.6, 0.5, 0.42, 0.08  # inches: a model's share of the height, between columns, margins
ROW = 4  # layers side by side; more begin a new row
KINDS = {"relu": "ReLU", "topk": "TopK", "batchtopk": "BatchTopK"}


@styled
def design(summary: dict, theme, note: str = ""):
    """Figure 1: every model with its data and losses, an SAE on each, and how each came from its parents.

    summary: model=dict(kind, parameters, d_model, d_mlp, vocab), models={name: dict(data, tokens, loss, accuracy,
    made)}, saes={name: dict(kind, width, l0, live)}. What is missing or NaN is left out.
    """
    if found := crowded(theme.models, "Figure 1", "data/models.csv and data/saes.csv"):
        return found
    spots, size, height = _places(layers(theme))
    fig = picture(height, note, layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, height))
    ax.axis("off")
    ax.text(EDGE, height - 0.17, _architecture(summary.get("model", {})), va="center", fontsize=7.5)
    models, saes = summary.get("models", {}), summary.get("saes", {})
    named = set()
    for parent, child in theme.edges:
        made = (models.get(child) or {}).get("made") or ""
        _arrow(ax, spots, size, theme.color(child), parent, child, "" if child in named else made.replace(", ", "\n"))
        named.add(child)
    for name in theme.models:
        _model_box(ax, theme.model(name), spots[name], size, dict(models.get(name) or {}), saes.get(name))
    return fig


def _places(columns: list[list[str]]) -> tuple[dict, float, float]:
    """Lower left corner of each model's box, the width of all boxes, and the height of the figure, in inches."""
    rows = [columns[start:start + ROW] for start in range(0, len(columns), ROW)]
    widest, spots, top = max(map(len, rows)), {}, TOP
    size = min(BOX[0], (WIDTH - 2 * EDGE - GAP * (widest - 1)) / widest)
    step = size + GAP if widest < 3 else (WIDTH - 2 * EDGE - size) / (widest - 1)
    heights = [SLOT * max(map(len, row)) for row in rows]
    height = TOP + sum(heights) + 0.1
    for row, tall in zip(rows, heights, strict=True):
        for column, layer in enumerate(row):
            for place, name in enumerate(layer):
                middle = top + tall / 2 + SLOT * (place - (len(layer) - 1) / 2)
                spots[name] = (EDGE + column * step, height - middle - 0.21)
        top += tall
    return spots, size, height


def _architecture(model: dict) -> str:
    parts = [("{} parameters", short(model.get("parameters"))), ("width {}", count(model.get("d_model"))),
             ("MLP {}", count(model.get("d_mlp"))), ("vocabulary {}", count(model.get("vocab")))]
    facts = ", ".join(text.format(value) for text, value in parts if value != "–")
    return model.get("kind", "Language model") + (f": {facts}" if facts else "")


def _model_box(ax, look, spot: tuple, width: float, model: dict, sae: dict | None):
    (x, y), (color, scale) = spot, (look.color, width / BOX[0])
    height, plain = BOX[1], dict(zorder=4, va="center", parse_math=False)
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", lw=1,
                                facecolor=tint(color, 0.13), edgecolor=color, zorder=3))
    head = textwrap.shorten(look.label, max(12, int(24 * scale)), placeholder="…") or look.label[:int(24 * scale)]
    ax.text(x + 0.09, y + height - 0.14, head, fontweight="bold", fontsize=8 if scale > 0.8 else 7, color=ink(color),
            **plain)
    for k, line in enumerate(_facts(model, int(35 * scale))):
        ax.text(x + 0.09, y + height - 0.33 - 0.135 * k, line, fontsize=6.3 if scale > 0.8 else 5.6, **plain)
    if not sae:
        return
    inset = 0.12 * scale
    ax.add_patch(FancyBboxPatch((x + inset, y - STRIP - 0.08), width - 2 * inset, STRIP, lw=0.7, facecolor="white",
                                edgecolor=color, boxstyle="round,pad=0,rounding_size=0.04", zorder=3))
    ax.plot([x + width / 2] * 2, [y - 0.08, y], color=color, lw=0.8, zorder=2)
    live = f"{count(sae.get('live'))} live of " if finite(sae.get("live")) else ""
    sparsity = f", L0 {sae['l0']:.1f}" if finite(sae.get("l0")) else ""
    text = f"{KINDS.get(sae.get('kind'), sae.get('kind', ''))} SAE{sparsity}\n{live}{count(sae.get('width'))} features"
    ax.text(x + width / 2, y - 0.08 - STRIP / 2, text, ha="center", fontsize=6.3 if scale > 0.8 else 5.4,
            linespacing=1.25, **plain)


def _facts(model: dict, room: int) -> list[str]:
    """At most four lines of text for a model's box: its data in two lines, tokens, loss and accuracy."""
    lines = textwrap.wrap(str(model.get("data") or ""), room, max_lines=2, placeholder=" …", break_on_hyphens=False)
    if finite(model.get("tokens")) and model["tokens"] > 0:
        lines.append(f"{short(model['tokens'])} training tokens")
    scores = [f"held-out loss {model['loss']:.2f}"] if finite(model.get("loss")) else []
    scores += [f"accuracy {percent(model['accuracy'])}"] if finite(model.get("accuracy")) else []
    return (lines + textwrap.wrap(", ".join(scores), room))[:4]


def _arrow(ax, spots: dict, width: float, color, parent: str, child: str, label: str):
    (x0, y0), (x1, y1) = spots[parent], spots[child]
    up = 1 if y1 > y0 + 0.01 else -1 if y1 < y0 - 0.01 else 0
    if x1 > x0:
        start, end = (x0 + width + 0.03, y0 + BOX[1] / 2 + 0.12 * up), (x1 - 0.03, y1 + BOX[1] / 2 - 0.12 * up)
        middle = (start[0] + end[0]) / 2
        path = Curve([start, (middle, start[1]), (middle, end[1]), end], [1, 4, 4, 4])
        at = dict(x=end[0] - 0.02, y=end[1] + (0.07 if up >= 0 else -0.07), ha="right",
                  va="bottom" if up >= 0 else "top")
    else:  # into the next row
        start, end = (x0 + width / 2, y0 - STRIP - 0.08), (x1 + width / 2, y1 + BOX[1] + 0.03)
        lane = y0 - STRIP - 0.18
        path = Curve([start, (start[0], lane), (end[0], lane), end], [1, 2, 2, 2])
        at = dict(x=end[0] + 0.06, y=lane - 0.02, ha="left", va="top")
    ax.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, lw=1.4, color=color, zorder=2))
    if label:
        ax.text(s=label, fontsize=6.8 if width > 1.5 else 5.8, zorder=5, linespacing=1.1, parse_math=False, **at)
