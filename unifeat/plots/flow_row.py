"""One row of layers in the flow of features: its bars, ribbons, and their labels where there is room."""

from itertools import pairwise

import numpy as np
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Curve

from unifeat.plots import layers, spans
from unifeat.plots.labels import Labels, wide
from unifeat.plots.names import clipped
from unifeat.plots.style import GREY, count, finite, ink, percent, spread, tint

BAR, FADE = 0.09, 0.42  # inches: half the width of a bar, how far a band fades
HEAD = 0.5  # inches between bars, for the name of the lower one
STEP = 0.235  # inches, the height of a label of two lines
NEAR = BAR + 0.14  # inches from a bar's middle to the labels beside it
SIZE, SMALL, DARK, PALE = 6.3, 5.2, "#222222", "#555555"  # points, colors


def part_name(theme, label: str, other: str, which: str, room: int = 14) -> str:
    """A part of a model's features in words: from or kept in one other model only, in both or several, or in none."""
    if label in ("new", "neither"):
        return label
    name = f"{clipped(theme.short(other), room)} only" if other else label
    return f"from {name}" if which == "in" else f"kept in {name}"


class Row:
    """Layers of an `Alluvial`, of which `first` is the leftmost; y runs downwards, in features."""

    def __init__(self, whole, bounds: dict, depth: dict, paths: dict, columns: list, first: int):
        self.whole, self.theme, self.tally, self.bounds = whole, whole.theme, whole.tally, bounds
        last = first + len(columns) - 1
        self.paths = {}  # of each edge in the row: the layer where it begins, nodes
        for edge, path in paths.items():
            start = max(first - depth[edge[0]], 0)
            nodes = path[start:max(last - depth[edge[0]] + 1, 0)]
            if len(nodes) > 1:
                self.paths[edge] = (depth[edge[0]] + start - first, nodes)
        going = {nodes[0] for _, nodes in self.paths.values()}
        self.columns = [[node for node in columns[0] if first == 0 or node in going], *columns[1:]]
        self.y = layers.places(self.columns, {edge: nodes for edge, (_, nodes) in self.paths.items()}, self._tall)
        self.y = {node: y / (whole.unit or 1.0) for node, y in self.y.items()}
        self.sides = {(name, which): self._side(name, which) for k, which in ((0, "in"), (1, "out"))
                      for column in (self.columns[1:], self.columns[:-1])[k] for name in column if name in whole.live}
        nodes = [(self.y[node] * whole.unit, whole.thick(node) / 2 * whole.unit) for node in self.y]
        self.top, self.bottom = min(y - half for y, half in nodes) - 0.32, max(y + half for y, half in nodes) + 0.06
        for which in ("in", "out"):  # labels beside a bar may ask for more height than it has
            places = self._places(which)[1]
            self.top = min([self.top, *(y * whole.unit - STEP / 2 for y in places)])
            self.bottom = max([self.bottom, *(y * whole.unit + STEP / 2 for y in places)])

    def _tall(self, node) -> float:
        return self.whole.thick(node) * self.whole.unit + (0.3 if isinstance(node, tuple) else HEAD)

    def _side(self, name: str, which: str) -> spans.Side:
        end = 1 if which == "in" else 0
        beside = {edge[1 - end]: nodes[-2] if end else nodes[1] for edge, (_, nodes) in self.paths.items()
                  if nodes[-1 if end else 0] == name}
        below = {other: round(self.y[node] - self.y[name], 6) for other, node in beside.items()}
        others = sorted(below, key=below.get)
        return spans.side(self.tally, name, which, others, [below[one] for one in others], self.whole.live[name])

    def _top(self, name: str) -> float:
        return self.y[name] - self.whole.live[name] / 2

    def _short(self, name: str) -> str:
        return clipped(self.theme.short(name), 18)

    def outer(self, which: str) -> list[str]:
        """Models whose parts are named beside their bars: the first layer's by fate, the last one's by origin."""
        column = self.columns[0] if which == "out" else self.columns[-1]
        return [name for name in column if (name, which) in self.sides and self.sides[name, which].parts]

    def _away(self, which: str) -> float:
        """Inches from a bar's middle to the labels beside it: clear of its name where they are higher than the bar."""
        outer = self.outer(which)
        tight = len(outer) > 1 or any(STEP * len(self.sides[name, which].parts) > self.whole.live[name]
                                      * self.whole.unit for name in outer)
        return max([NEAR, *(self._head(name) + 0.08 for name in outer if tight)])

    def margin(self, which: str) -> float:
        """Inches between the row's end and the middle of the bars there."""
        heads = [self._head(name) + 0.03 for column in self.columns for name in column if name in self.whole.live]
        texts = [text for row in self._places(which)[0] for text in self._part(*row[1:4], which).split("\n")]
        return max([*heads, *(self._away(which) + wide(text, SIZE) + 0.03 for text in texts)])

    def _head(self, name: str) -> float:
        """Half the inches across the name of a bar."""
        return max(wide(text, 7, "bold") for text in (self._short(name), f"{count(self.whole.live[name])} live")) / 2

    def _part(self, label: str, other: str, value: tuple, which: str) -> str:
        return f"{part_name(self.theme, label, other, which)}\n{count(value[0])} ({percent(value[1], 0)})"

    def draw(self, ax, width: float):
        """The row in axes that are `width` inches wide and (bottom - top) high."""
        ax.axis("off")
        unit, (left, right) = self.whole.unit, self.whole.margins
        ax.set(xlim=(0, width), ylim=(self.bottom / unit, self.top / unit))
        self.x = [left + k * (width - left - right) / self.whole.most for k in range(len(self.columns))]
        self.ax, self.labels = ax, Labels(ax, pad=(1, 3))
        fades = [fade for x, column in zip(self.x, self.columns, strict=True) for name in column
                 if name in self.whole.live for fade in self._bar(name, x)]
        for edge, (start, nodes) in self.paths.items():
            self._edge(edge, start, nodes)
        for which in ("out", "in"):
            self._side_labels(which)
        for text, places in fades:
            self.labels.put([(text, SIZE, DARK)], places, linespacing=1.15)
        for edge, (start, nodes) in self.paths.items():
            if nodes[-1] == edge[1]:
                self._number(edge, start + len(nodes) - 2, nodes)

    def _bar(self, name: str, x: float) -> list[tuple]:
        """A model's bar, its name, its fading bands; returns the bands' labels and where each may stand."""
        color, top, live, out = self.theme.color(name), self._top(name), self.whole.live[name], []
        self.ax.add_patch(Rectangle((x - BAR, top), 2 * BAR, live, color=color, lw=0, zorder=4))
        self.labels.block((x - BAR, x + BAR), (top, top + live))
        self.labels.put([(f"{self._short(name)}\n{count(live)} live", 7, ink(color))],
                        [(x, top - 0.16 / self.whole.unit, "center")], fontweight="bold")
        for which, direction in (("in", -1), ("out", 1)):
            side = self.sides.get((name, which))
            if not side or not side.ends:
                continue
            span = (top + side.rest[0], top + side.rest[1])
            _fade(self.ax, x + BAR * direction, span, color, direction)
            if len(side.ends) == 1 and span[1] > span[0]:
                other, verb = next(iter(side.ends)), "emerge" if which == "in" else "disappear"
                features, share = self.tally.edge(*((other, name) if which == "in" else (name, other)), verb)
                places = [(x + (BAR + 0.05) * direction, y, "left" if direction > 0 else "right")
                          for y in _between(*span, 0.13 / self.whole.unit)]
                out.append((f"{verb}\n{count(features)} ({percent(share, 0)})", places))
        self._ceiling(name, x)
        return out

    def _ceiling(self, name: str, x: float):
        """White dashes where the persisting part of a model would end if only the SAE's seed had changed."""
        side = self.sides.get((name, "in"))
        if not side or len(side.ends) != 1:
            return
        (parent, (span,)), = side.ends.items()
        ceiling = self.bounds.get((parent, name), (None, None))[0]
        if finite(ceiling):
            y = self._top(name) + (ceiling if span[0] <= 0 else 1 - ceiling) * self.whole.live[name]
            self.ax.plot([x - BAR, x + BAR], [y, y], color="white", lw=1.3, ls=(0, (1.6, 0.9)), zorder=6)

    def _ends(self, node, edge, which: str) -> list[tuple]:
        """Where the ribbons of an edge leave ("out") or meet ("in") a node: (top, bottom) of each."""
        if isinstance(node, tuple):
            half = self.whole.thick(node) / 2
            return [(self.y[node] - half, self.y[node] + half)]
        other = edge[1] if which == "out" else edge[0]
        return [(self._top(node) + a, self._top(node) + b) for a, b in self.sides[node, which].ends[other]]

    def _leg(self, edge, k: int, a, b) -> list[tuple]:
        """The ribbons of an edge from node a in layer k of the row to node b: (x0, left span, x1, right span)."""
        parts = spans.pieces(self._ends(a, edge, "out"), self._ends(b, edge, "in"))
        return [(self.x[k] + BAR, left, self.x[k + 1] - BAR, right) for left, right in parts]

    def _edge(self, edge, start: int, nodes: list):
        """The ribbons of an edge; where it bends at an end of the row they fade and say where they lead."""
        color = self.whole.color(edge)
        for k, ends in enumerate(pairwise(nodes), start):
            for ribbon in self._leg(edge, k, *ends):
                _ribbon(self.ax, *ribbon, color, edge)
                self.labels.line(edge, _middle(*ribbon))
        for k, bend in enumerate(nodes, start):
            if isinstance(bend, tuple) and self.whole.thick(bend):
                (span,), x = self._ends(bend, edge, "in"), self.x[k]
                _ribbon(self.ax, x - BAR, span, x + BAR, span, color, edge)
                if k in (0, len(self.x) - 1):
                    _fade(self.ax, x + (BAR if k else -BAR), span, color, 1 if k else -1)
                    text = f"to {self._short(edge[1])}" if k else f"from {self._short(edge[0])}"
                    self.labels.put([(text, SMALL, PALE)], [(x, span[0] - 0.07 / self.whole.unit, "center")])

    def _number(self, edge, k: int, nodes: list):
        """Features and share of an edge on its last step, its ceiling and null in small type below."""
        (features, share), (ceiling, null) = self.tally.edge(*edge, "persist"), self.bounds.get(edge, (None, None))
        lines = [(f"{count(features)} ({percent(share, 0)})", SIZE, DARK)]
        if finite(ceiling) and finite(null):
            lines.append((f"ceiling {100 * ceiling:.0f}, null {100 * null:.0f}", SMALL, PALE))
        spots, unit = [], self.whole.unit
        for ribbon in sorted(self._leg(edge, k, *nodes[-2:]), key=lambda one: one[1][0] - one[1][1]):
            points = _middle(*ribbon)
            spots += [(*points[n], "center") for n in (20, 18, 22, 16, 24, 14, 26, 12, 28)]
        if not spots:  # none persists: the number stands between the bars
            spots = [((self.x[k] + self.x[k + 1]) / 2, (self.y[nodes[-2]] + self.y[nodes[-1]]) / 2, "center")]
        shifts = [shift * STEP / unit for shift in (-0.25, 0.25, -0.5, 0.5, -1, 1, -1.5, 1.5)]
        spots += [(x, y + shift, ha) for shift in shifts for x, y, ha in spots]
        inside = [spot for spot in spots if self.top + STEP / 2 < spot[1] * unit < self.bottom - STEP / 2]
        self.labels.put(lines, inside or spots, owner=edge,
                        bbox=dict(boxstyle="round,pad=0.12", facecolor="white", alpha=0.75, lw=0))

    def _places(self, which: str) -> tuple[list, list]:
        """Parts to name beside the outer bars, (model, label, other, (features, share), middle), and their heights."""
        rows = [(name, label, other, value, self._top(name) + sum(span) / 2) for name in self.outer(which)
                for label, other, value, span in self.sides[name, which].parts]
        rows.sort(key=lambda row: row[-1])
        step = STEP / (self.whole.unit or 1.0)
        low = self._top(rows[0][0]) + 0.55 * step if rows and self._away(which) == NEAR else -np.inf
        return rows, list(spread([row[-1] for row in rows], step, low=low)) if rows else []

    def _side_labels(self, which: str):
        """How the features of the outer models are split, beside their bars."""
        sign, x, away = (-1, self.x[0], self._away(which)) if which == "out" else (1, self.x[-1], self._away(which))
        for (_, label, other, value, middle), y in zip(*self._places(which), strict=True):
            self.ax.plot([x + sign * (BAR + 0.03), x + sign * (away - 0.03)], [middle, y], color=GREY, lw=0.5, zorder=5)
            text = self._part(label, other, value, which)
            self.labels.put([(text, SIZE, DARK)], [(x + sign * away, y, "left" if sign > 0 else "right")],
                            linespacing=1.1)
            if which == "in" and other and value[0]:  # the origin of each part, as a thin edge on the bar
                self.ax.add_patch(Rectangle((x + BAR, middle - value[0] / 2), 0.035, value[0], lw=0,
                                            color=self.theme.color(other)))


def _between(top: float, bottom: float, half: float) -> list[float]:
    """Heights in a span, its middle first, then ever farther from it, half a label from its ends and beyond them."""
    middle, reach = (top + bottom) / 2, max((bottom - top) / 2 - half, 0.0)
    return [middle, *(middle + sign * share * reach for share in (0.25, 0.5, 0.75, 1.0) for sign in (1, -1)),
            *(middle + sign * (reach + share * half) for share in (0.7, 1.4, 2, 2.6) for sign in (1, -1))]


def _middle(x0: float, left: tuple, x1: float, right: tuple) -> np.ndarray:
    """Points (41, 2) along the middle of a ribbon, a cubic Bezier curve that is level at both ends."""
    s = np.linspace(0, 1, 41)
    level = (1 - s) ** 2 * (1 + 2 * s)
    x = x0 * (1 - s) ** 3 + 1.5 * (x0 + x1) * s * (1 - s) + x1 * s ** 3
    return np.stack([x, level * sum(left) / 2 + (1 - level) * sum(right) / 2], 1)


def _ribbon(ax, x0: float, left: tuple, x1: float, right: tuple, color, edge):
    middle = (x0 + x1) / 2
    points = [(x0, left[0]), (middle, left[0]), (middle, right[0]), (x1, right[0]),
              (x1, right[1]), (middle, right[1]), (middle, left[1]), (x0, left[1]), (x0, left[0])]
    ax.add_patch(PathPatch(Curve(points, [1, 4, 4, 4, 2, 4, 4, 4, 79]), facecolor=color, alpha=0.42, lw=0, zorder=3,
                           gid=" → ".join(edge)))


def _fade(ax, x: float, span: tuple, color, direction: int):
    """A band that runs out of (direction 1) or into (-1) a bar, ever paler away from it."""
    if span[1] <= span[0]:
        return
    ramp = np.zeros((1, 64, 4))
    ramp[..., :3] = tint(color, 1)
    ramp[..., 3] = 0.42 * np.linspace(1, 0, 64) ** 1.3
    ends, limits = sorted((x, x + FADE * direction)), (ax.get_xlim(), ax.get_ylim())
    ax.imshow(ramp[:, ::direction], extent=(*ends, span[1], span[0]), aspect="auto", interpolation="nearest", zorder=2)
    ax.set(xlim=limits[0], ylim=limits[1])
