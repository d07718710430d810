"""Figure 1: the design of the experiment, drawn from the run's own configuration and counts."""

import textwrap

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from unifeat.plots.style import (
    EDGES,
    MODEL_COLORS,
    MODEL_NAMES,
    WIDTH,
    count,
    finite,
    ink,
    percent,
    picture,
    short,
    styled,
    tint,
)

BOX = (1.86, 0.86)  # inches: a model, at the lower left corners in SPOTS; its SAE hangs below
STRIP = 0.36
KINDS = {"relu": "ReLU", "topk": "TopK", "batchtopk": "BatchTopK"}
SPOTS = {"base": (0.08, 1.58), "lua": (2.67, 2.38), "stories": (2.67, 0.78), "merged": (5.26, 1.58)}


@styled
def design(summary: dict, note: str = ""):
    """Figure 1: base -> {Lua, Stories} -> merged, an SAE on each, with the run's own numbers in the boxes.

    summary: model=dict(kind, parameters, d_model, d_mlp, vocab), models={name: dict(data, tokens, loss, accuracy)},
    saes={name: dict(kind, width, l0, live)}, merge=dict(t). Missing or NaN entries are left out.
    """
    height = 3.66
    fig = picture(height, note, layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, height))
    ax.axis("off")
    ax.text(0.08, height - 0.17, _architecture(summary.get("model", {})), va="center", fontsize=7.5)
    t = summary.get("merge", {}).get("t")
    merged = f"SLERP\nt = {t:.2f}" if finite(t) else "SLERP"
    for (parent, child), label in zip(EDGES, ("fine-tune", "fine-tune", merged, ""), strict=True):
        _design_edge(ax, parent, child, label)
    models, saes = summary.get("models", {}), summary.get("saes", {})
    for name in SPOTS:
        model = dict(models.get(name) or {})
        if name == "merged":
            model["data"] = model.get("data") or "interpolated weights, no training"
        _model_box(ax, name, model, saes.get(name))
    return fig


def _architecture(model: dict) -> str:
    parts = [("{} parameters", short(model.get("parameters"))), ("width {}", count(model.get("d_model"))),
             ("MLP {}", count(model.get("d_mlp"))), ("vocabulary {}", count(model.get("vocab")))]
    facts = ", ".join(text.format(value) for text, value in parts if value != "–")
    return model.get("kind", "One-layer Mistral") + (f": {facts}" if facts else "")


def _model_box(ax, name: str, model: dict, sae: dict | None):
    x, y = SPOTS[name]
    width, height = BOX
    color = MODEL_COLORS[name]
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", lw=1,
                                facecolor=tint(color, 0.13), edgecolor=color, zorder=3))
    ax.text(x + 0.09, y + height - 0.14, MODEL_NAMES[name], fontweight="bold", fontsize=8, color=ink(color),
            va="center", zorder=4)
    for k, line in enumerate(_facts(model)):
        ax.text(x + 0.09, y + height - 0.33 - 0.135 * k, line, fontsize=6.3, va="center", zorder=4)
    if sae:
        ax.add_patch(FancyBboxPatch((x + 0.12, y - STRIP - 0.08), width - 0.24, STRIP, lw=0.7,
                                    facecolor="white",
                                    edgecolor=color, boxstyle="round,pad=0,rounding_size=0.04", zorder=3))
        ax.plot([x + width / 2] * 2, [y - 0.08, y], color=color, lw=0.8, zorder=2)
        live = f"{count(sae.get('live'))} live of " if finite(sae.get("live")) else ""
        sparsity = f", L0 {sae['l0']:.1f}" if finite(sae.get("l0")) else ""
        kind = KINDS.get(sae.get("kind"), sae.get("kind", ""))
        text = f"{kind} SAE{sparsity}\n{live}{count(sae.get('width'))} features"
        ax.text(x + width / 2, y - 0.08 - STRIP / 2, text, ha="center", va="center", fontsize=6.3, zorder=4,
                linespacing=1.25)


def _facts(model: dict) -> list[str]:
    """At most four lines of text for a model's box: its data in two lines, tokens, loss and accuracy."""
    lines = textwrap.wrap(str(model.get("data") or ""), 35, max_lines=2, placeholder=" …",
                          break_on_hyphens=False)
    if finite(model.get("tokens")) and model["tokens"] > 0:
        lines.append(f"{short(model['tokens'])} training tokens")
    scores = [f"held-out loss {model['loss']:.2f}"] if finite(model.get("loss")) else []
    scores += [f"accuracy {percent(model['accuracy'])}"] if finite(model.get("accuracy")) else []
    return lines + ([", ".join(scores)] if scores else [])


def _design_edge(ax, parent: str, child: str, label: str):
    (x0, y0), (x1, y1) = SPOTS[parent], SPOTS[child]
    up, reach = (1 if y1 > y0 else -1), BOX[1] / 2
    start, end = (x0 + BOX[0] + 0.03, y0 + reach + 0.12 * up), (x1 - 0.03, y1 + reach - 0.12 * up)
    middle = (start[0] + end[0]) / 2
    path = Curve([start, (middle, start[1]), (middle, end[1]), end], [1, 4, 4, 4])
    ax.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, lw=1.4,
                                 color=MODEL_COLORS[child],
                                 zorder=2))
    left = parent == "base"  # the label stands on the outer side of the curve
    outward = up if left else -up
    ax.text(middle + (0.0 if left else 0.05), (start[1] + end[1]) / 2 + 0.27 * outward, label, va="center",
            ha="right" if left else "left", fontsize=7)
