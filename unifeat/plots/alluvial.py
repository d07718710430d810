"""The flow of features as ribbons between bars, for any lineage of a few models."""

from dataclasses import dataclass

import numpy as np
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Curve

from unifeat.plots.layout import layers
from unifeat.plots.names import clipped
from unifeat.plots.style import GREY, count, finite, hint, ink, percent, spread, tint

BAR = 0.065  # half the width of a bar; layers are 1 apart
SIZE = 6.3  # points


@dataclass
class Bar:
    """A model: place of its bar, its live features, and the spans of its features by parent and by child."""

    x: float
    top: float
    live: float
    sides: dict  # ("in" | "out", other model): (top, bottom) of what it shares with it
    rest: dict  # "in" | "out": (top, bottom) of what it shares with none
    parts: dict  # "in" | "out": [(label, (top, bottom), (features, share))], where its features are split


def draw(ax, tally: dict, theme, ceilings: dict):
    """Bars, ribbons and their numbers.

    tally: {(source, target, kind): (features, share)}, as in flow.csv; ceilings: {edge: (ceiling, null)} of the child's
    side, written under each ribbon's number.
    """
    ax.axis("off")
    bars, height = _bars(tally, theme)
    if not height:
        hint(ax, "no live features")
        return
    last = max(bar.x for bar in bars.values())
    ax.set(xlim=(-0.66, last + 0.68), ylim=(1.1 * height, -0.1 * height))
    size = SIZE if last <= 3 else 5.0
    for parent, child in theme.edges:
        kept, share = tally.get((parent, child, "persist"), (0.0, np.nan))
        _ribbon(ax, bars[parent].x + BAR, bars[parent].sides["out", child], bars[child].x - BAR,
                bars[child].sides["in", parent], theme.color(child))
        bound = ceilings.get((parent, child))
        beside = f"\nceiling {100 * bound[0]:.0f}, null {100 * bound[1]:.0f}" if bound else ""
        _number(ax, bars, parent, child, f"{count(kept)} ({percent(share, 0)}){beside}", size)
    for name, bar in bars.items():
        for side, direction, verb in (("in", -1, "emerge"), ("out", 1, "disappear")):
            x, others = bar.x + direction * BAR, [other for where, other in bar.sides if where == side]
            tallied = tally.get((others[0], name, verb) if side == "in" else (name, others[0], verb)) \
                if len(others) == 1 else None
            if others:
                _fade(ax, x, bar.rest[side], theme.color(name), direction, verb, tallied, size)
            outer = bar.x == (last if side == "in" else 0)
            if outer and bar.parts.get(side):
                _side_labels(ax, bar.x - direction * BAR, -direction, bar.parts[side], side, theme, size)
        ax.add_patch(Rectangle((bar.x - BAR, bar.top), 2 * BAR, bar.live, color=theme.color(name), lw=0, zorder=4))
        lower = bar.top > height / 2  # a bar in the lower half has its name below it, clear of the ribbons
        y = bar.top + bar.live + 0.015 * height if lower else bar.top - 0.015 * height
        ax.text(bar.x, y, f"{clipped(theme.short(name), 18)}\n{count(bar.live)} live", ha="center",
                va="top" if lower else "bottom", color=ink(theme.color(name)), fontweight="bold", fontsize=size + 0.7,
                zorder=6, parse_math=False)


def _bars(tally: dict, theme) -> tuple[dict[str, Bar], float]:
    """Every model's bar, layers from left to right, and the height of the tallest layer."""
    columns, live = layers(theme), {name: _live(tally, theme, name) for name in theme.models}
    gap = 0.2 * max(sum(live[name] for name in layer) for layer in columns)
    tall = [sum(live[name] for name in layer) + gap * (len(layer) - 1) for layer in columns]
    bars, height = {}, max(tall) if any(live.values()) else 0.0
    for x, (layer, own) in enumerate(zip(columns, tall, strict=True)):
        top = (height - own) / 2
        for name in layer:
            bars[name] = Bar(float(x), top, live[name], {}, {}, {})
            top += live[name] + gap
    for name, bar in bars.items():
        _spans(bar, bars, tally, name, "in", [parent for parent, child in theme.edges if child == name])
        _spans(bar, bars, tally, name, "out", [child for parent, child in theme.edges if parent == name])
    return bars, height


def _live(tally: dict, theme, name: str) -> float:
    """Live features of a model: what persists and emerges into it, or persists and leaves."""
    def total(source, target, *kinds):
        return sum(tally.get((source, target, kind), (0.0, 0.0))[0] for kind in kinds)

    return max([total(parent, name, "persist", "emerge") for parent, child in theme.edges if child == name]
               + [total(name, child, "persist", "disappear") for parent, child in theme.edges if parent == name],
               default=0.0)


def _spans(bar: Bar, bars: dict, tally: dict, name: str, side: str, others: list[str]):
    """Where along the bar the features lie that it shares with each of the others, and with none."""
    if not others:
        return
    others = sorted(others, key=lambda other: bars[other].top + bars[other].live / 2)
    kept = {other: tally.get((other, name, "persist") if side == "in" else (name, other, "persist"), (0.0, 0.0))[0]
            for other in others}
    end, none = bar.top + bar.live, "new" if side == "in" else "neither"
    if len(others) == 2:  # first only, both, second only, none
        keys = [f"{others[0]} only", "both", f"{others[1]} only", none]
        found = [tally.get((key, name, "part") if side == "in" else (name, key, "part")) for key in keys]
        if all(found):
            edges = bar.top + np.cumsum([0.0, *(features for features, _ in found)])
            spans = list(zip(edges[:-1], edges[1:], strict=True))
            bar.sides[side, others[0]] = (spans[0][0], spans[1][1])
            bar.sides[side, others[1]] = (spans[1][0], spans[2][1])
            bar.rest[side] = spans[3]
            bar.parts[side] = list(zip(keys, spans, found, strict=True))
            return
    for number, other in enumerate(others):  # evenly spaced: which features several share is not claimed
        middle = bars[other].top + bars[other].live / 2
        away = (middle - bar.top - bar.live / 2) / max(bar.live, 1e-9)  # how far below this bar the other one stands
        share = number / (len(others) - 1) if len(others) > 1 else float(away > 0.05)
        top = bar.top + share * (bar.live - kept[other])
        bar.sides[side, other] = (top, top + kept[other])
    one = bar.sides[side, others[0]]
    bar.rest[side] = ((one[1], end) if one[0] <= bar.top else (bar.top, one[0])) if len(others) == 1 else (end, end)


def _ribbon(ax, x0: float, left: tuple, x1: float, right: tuple, color):
    if left[1] <= left[0] and right[1] <= right[0]:
        return
    middle = (x0 + x1) / 2
    points = [(x0, left[0]), (middle, left[0]), (middle, right[0]), (x1, right[0]),
              (x1, right[1]), (middle, right[1]), (middle, left[1]), (x0, left[1]), (x0, left[0])]
    ax.add_patch(PathPatch(Curve(points, [1, 4, 4, 4, 2, 4, 4, 4, 79]), facecolor=color, alpha=0.42, lw=0, zorder=3))


def _number(ax, bars: dict, parent: str, child: str, text: str, size: float):
    """A ribbon's number in its middle; of ribbons that cross, at a place of its own."""
    left, right = bars[parent].sides["out", child], bars[child].sides["in", parent]
    share = 0.5 if bars[child].x - bars[parent].x == 1 else 0.72
    y = (1 - share) * sum(left) / 2 + share * sum(right) / 2
    x = (1 - share) * bars[parent].x + share * bars[child].x
    ax.text(x, y, text, ha="center", va="center", fontsize=size - 0.5, zorder=7, linespacing=1.1,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "lw": 0})


def _fade(ax, x: float, span: tuple, color, direction: int, verb: str, tallied, size: float):
    """A band that runs out of (direction 1) or into (-1) a bar, ever paler away from it."""
    if span[1] <= span[0]:
        return
    ramp = np.zeros((1, 64, 4))
    ramp[..., :3] = tint(color, 1)
    ramp[..., 3] = 0.42 * np.linspace(1, 0, 64) ** 1.3
    ends = (x, x + 0.3) if direction > 0 else (x - 0.3, x)
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(ramp[:, ::direction], extent=(*ends, span[1], span[0]), aspect="auto", interpolation="nearest", zorder=2)
    ax.set(xlim=limits[0], ylim=limits[1])
    if tallied:
        ax.text(x + 0.04 * direction, sum(span) / 2, f"{verb}\n{count(tallied[0])} ({percent(tallied[1], 0)})",
                ha="left" if direction > 0 else "right", va="center", fontsize=size, zorder=7)


def _side_labels(ax, x: float, side: int, parts: list, kind: str, theme, size: float):
    """How an outer bar's features are split by origin or fate."""
    step = 0.068 * abs(np.subtract(*ax.get_ylim()))
    places = spread([sum(span) / 2 for _, span, _ in parts], step, low=parts[0][1][0] + 0.3 * step)
    for place, (key, span, (features, share)) in zip(places, parts, strict=True):
        name = f"{clipped(theme.short(key.removesuffix(' only')), 14)} only" if key.endswith(" only") else key
        text = name if key in ("new", "neither") else f"{'from' if kind == 'in' else 'kept in'} {name}"
        ax.plot([x + 0.03 * side, x + 0.09 * side], [sum(span) / 2, place], color=GREY, lw=0.5, zorder=5)
        ax.text(x + 0.105 * side, place, f"{text}\n{count(features)} ({percent(share, 0)})", va="center",
                ha="left" if side > 0 else "right", fontsize=size, linespacing=1.1, parse_math=False)


def ceiling_marks(ax, tally: dict, theme, ceilings: dict):
    """White dashes where the persisting part of a child of one parent would end if only the SAE's seed had changed."""
    bars, _ = _bars(tally, theme)
    for (parent, child), (ceiling, _) in ceilings.items():
        bar = bars[child]
        if sum(where == "in" for where, _ in bar.sides) != 1 or not finite(ceiling) or not bar.live:
            continue
        at_top = bar.sides["in", parent][0] <= bar.top
        y = bar.top + (ceiling if at_top else 1 - ceiling) * bar.live
        ax.plot([bar.x - BAR, bar.x + BAR], [y, y], color="white", lw=1.3, ls=(0, (1.6, 0.9)), zorder=6)
