"""Figure 1: the design of the experiment, drawn from the run's own configuration and counts."""

import textwrap
from itertools import pairwise

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from unifeat.plots import layers
from unifeat.plots.labels import Labels, fitted, wide
from unifeat.plots.style import WIDTH, count, crowded, finite, ink, percent, picture, short, styled, tint

KINDS = {"relu": "ReLU", "topk": "TopK", "batchtopk": "BatchTopK"}
GUTTERS = {1: 0.0, 2: 1.3, 3: 0.73}  # inches between columns of boxes; elsewhere 0.55
LETTER = 0.048  # inches, a character at 6.3 points
BEND = 0.3  # inches of height for an edge that passes a column


@styled
def design(summary: dict, theme, note: str = ""):
    """Figure 1: models in layers from left to right, how each is made of its parents, an SAE on each.

    summary: model=dict(kind, parameters, d_model, d_mlp, vocab), models={name: dict(data, tokens, loss, accuracy,
    made)}, saes={name: dict(kind, width, l0, live)}. Missing or NaN entries are left out. More than four layers take
    two rows, and arrows lead from the end of the first to the start of the second.
    """
    if out := crowded(theme.models, "Figure 1", "data/models.csv"):
        return out
    drawing = _Design(summary, theme, 0.1 + 0.11 * (1 + len(note) // 167) * bool(note))
    fig = picture(drawing.height, note, layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(drawing.height, 0))
    ax.axis("off")
    ax.text(0.08, 0.17, textwrap.fill(_architecture(summary.get("model", {})), 115), va="center", fontsize=7.5)
    drawing.draw(ax)
    return fig


def _architecture(model: dict) -> str:
    parts = [("{} parameters", short(model.get("parameters"))), ("width {}", count(model.get("d_model"))),
             ("MLP {}", count(model.get("d_mlp"))), ("vocabulary {}", count(model.get("vocab")))]
    facts = ", ".join(text.format(value) for text, value in parts if value != "–")
    return model.get("kind", "Language model") + (f": {facts}" if facts else "")


class _Design:
    """Boxes and arrows in inches from the page's upper left corner; heights follow from the longest texts."""

    def __init__(self, summary: dict, theme, below: float):
        self.theme, self.models = theme, {name: summary.get("models", {}).get(name) or {} for name in theme.models}
        depth = layers.layers(theme.models, theme.edges)
        self.paths = layers.routes(depth, theme.edges)
        self.columns = layers.columns(depth, self.paths)
        rows = 1 if len(self.columns) <= 4 else 2
        self.row = max(1, -(-len(self.columns) // rows))  # columns in a row of the page
        self.margin, self.gutter = 0.08 if rows == 1 else 0.28, GUTTERS.get(self.row, 0.55)
        self.width = min(2.2, (WIDTH - 2 * self.margin - (self.row - 1) * self.gutter) / self.row)
        self.inset = 0.12 if self.width > 1.6 else 0.06
        self.facts = {name: self._facts(name) for name in theme.models}
        self.saes = {name: self._sae(sae) for name in theme.models if (sae := summary.get("saes", {}).get(name))}
        self.box = max(0.86, 0.45 + 0.135 * (max(map(len, self.facts.values()), default=1) - 1))
        self.strip = max([0.36, *(0.12 + 0.12 * len(lines) for lines in self.saes.values())]) if self.saes else 0
        self._place(below)

    def _facts(self, name: str) -> list[str]:
        """Lines of a model's box: its data in two at most, tokens, loss and accuracy."""
        room, model = int((self.width - 0.18) / LETTER), self.models[name]
        root = all(name != child for _, child in self.theme.edges)
        data = [str(model.get("data") or "")]
        if root and model.get("made") and not data[0].startswith(model["made"]):
            data.append(model["made"])
        lines = [line for text in data for line in
                 textwrap.wrap(text, room, max_lines=2, placeholder=" …", break_on_hyphens=False)]
        if finite(model.get("tokens")) and model["tokens"] > 0:
            lines.append(f"{short(model['tokens'])} training tokens")
        scores = [f"held-out loss {model['loss']:.2f}"] if finite(model.get("loss")) else []
        scores += [f"accuracy {percent(model['accuracy'])}"] if finite(model.get("accuracy")) else []
        return lines + ([", ".join(scores)] if len(", ".join(scores)) <= room and scores else scores)

    def _sae(self, sae: dict) -> list[str]:
        """Lines of the strip below a model's box."""
        live = f"{count(sae.get('live'))} live of " if finite(sae.get("live")) else ""
        sparsity = f", L0 {sae['l0']:.1f}" if finite(sae.get("l0")) else ""
        texts = (f"{KINDS.get(sae.get('kind'), sae.get('kind', ''))} SAE{sparsity}",
                 f"{live}{count(sae.get('width'))} features")
        return [line for text in texts for line in textwrap.wrap(text, int((self.width - 0.16) / LETTER))]

    def _place(self, below: float):
        """Left edges of the columns, and the upper edge of every box or the height at which a bend passes."""
        slot = self.box + (0.08 + self.strip) * bool(self.strip) + (0.3 if max(map(len, self.columns)) < 5 else 0.18)
        total = self.row * self.width + (self.row - 1) * self.gutter
        self.x = [(WIDTH - total) / 2 + (k % self.row) * (self.width + self.gutter) for k in range(len(self.columns))]
        self.y, self.channels, top = {}, {}, 0.42
        for start in range(0, len(self.columns), self.row):
            columns = self.columns[start:start + self.row]
            nodes = {node: (BEND if isinstance(node, tuple) else slot) for column in columns for node in column}
            found = [edge for edge, path in self.paths.items() if start and any(
                a not in nodes and b in nodes for a, b in pairwise(path))]  # from above, on tracks of their own
            self.channels |= {edge: (top + 0.1 + 0.13 * k, 0.08 + 0.04 * (k % 5)) for k, edge in enumerate(found)}
            top += 0.13 * len(found) + 0.1 * bool(found)
            paths = {edge: [node for node in path if node in nodes] for edge, path in self.paths.items()}
            middles = layers.places(columns, paths, nodes.get)
            shift = top - min((middles[node] - size / 2 for node, size in nodes.items()), default=0)
            for node, size in nodes.items():
                self.y[node] = middles[node] + shift - (0 if isinstance(node, tuple) else size / 2)
                top = max(top, middles[node] + shift + size / 2)
        self.height = top - 0.12 + below + 0.06

    def middle(self, node) -> float:
        """Where edges meet a node."""
        return self.y[node] + (0 if isinstance(node, tuple) else self.box / 2)

    def draw(self, ax):
        """Boxes, arrows, and on one arrow into every child how it is made."""
        labels, curves = Labels(ax), {}
        for k, column in enumerate(self.columns):
            for name in column:
                if not isinstance(name, tuple):
                    self._box(ax, self.x[k], name)
                    labels.block((self.x[k], self.x[k] + self.width), (self.y[name], self.y[name] + self.box))
                    sides, low = (self.x[k] + self.inset, self.x[k] + self.width - self.inset), self.y[name] + self.box
                    labels.block(sides, (low, low + 0.08 + self.strip))
        for edge, path in self.paths.items():
            curves[edge] = self._curve(edge, path)
            ax.add_patch(FancyArrowPatch(path=curves[edge], arrowstyle="-|>", mutation_scale=9, lw=1.4, fill=False,
                                         color=self.theme.color(edge[1]), zorder=2))
            labels.line(edge, curves[edge].to_polygons(closed_only=False)[0])
        for child in self.theme.models:
            made, into = self.models[child].get("made"), [edge for edge in self.paths if edge[1] == child]
            if made and into:
                first = min(into, key=lambda edge: self.middle(self.paths[edge][-2]))
                room = 99 if first in self.channels else int(min(max(self.gutter - 0.05, 0.5), 0.62) / 0.054)
                lines = str(made).split(", ", 1) if room < len(str(made)) else [str(made)]
                lines = [line for part in lines for line in textwrap.wrap(part, room, break_long_words=False)]
                labels.put([("\n".join(lines), 7 if self.gutter > 0.6 else 6.3, "#222222")],
                           self._spots(first, curves[first], 0.06 * len(lines)), linespacing=1.15,
                           bbox=dict(boxstyle="square,pad=0.1", facecolor="white", alpha=0.85, lw=0))

    def _curve(self, edge: tuple, path: list):
        """The path of an arrow."""
        first = next(k for k, column in enumerate(self.columns) if path[0] in column)
        start = (self.x[first] + self.width + 0.03, self.middle(path[0]) + self._offset(edge, path[0], 0))
        points, codes = [start], [Curve.MOVETO]
        for k, (_, node) in enumerate(pairwise(path), first + 1):
            last = node == edge[1]
            end = (self.x[k] - (0.03 if last else 0), self.middle(node) + (self._offset(edge, node, 1) if last else 0))
            (x0, y0), (x1, y1) = points[-1], end
            if k % self.row:
                middle = (x0 + x1) / 2
                points, codes = [*points, (middle, y0), (middle, y1), end], [*codes, 4, 4, 4]
            else:  # on to the next row of the page
                y, out = self.channels[edge]
                corners = [(x0 + out, y0), (x0 + out, y), (x1 - out - 0.03, y), (x1 - out - 0.03, y1), end]
                points, codes = points + corners, codes + [2] * 5
            if not last:
                points, codes = [*points, (self.x[k] + self.width, end[1])], [*codes, 2]
        return Curve(points, codes)

    def _spots(self, edge, curve: Curve, half: float) -> list[tuple]:
        """Places of the label of an edge, `half` its height in inches: beside its last curve, above it, at its end."""
        (x1, y1), (x0, y0) = curve.vertices[-1], curve.vertices[-4]
        if curve.codes[-1] == Curve.LINETO:  # on to another row: above the long way
            (a, y), (b, _) = curve.vertices[-4:-2]
            return [(share * a + (1 - share) * b, y - half - 0.04, "center") for share in (0.5, 0.35, 0.65, 0.2, 0.8)]
        middle, (low, high) = (x0 + x1) / 2, sorted((y0, y1))
        level = [(middle, y, "center") for y in (low - half - 0.04, high + half + 0.04)]
        end = [(x1 - 0.06 - step, y1 + side * (half + 0.05), "right") for step in (0, 0.1, 0.2) for side in (-1, 1)]
        if high - low < 0.2:
            return level + end
        away = 0.27 if y1 > y0 else -0.27
        left, right = (middle, (y0 + y1) / 2 + away, "right"), (middle + 0.05, (y0 + y1) / 2 - away, "left")
        forks = sum(parent == edge[0] for parent, _ in self.paths) > 1
        return ([left, right] if forks else [right, left]) + end + level

    def _offset(self, edge: tuple, name: str, end: int) -> float:
        """How far from a box's middle an edge meets it: edges fan out in the order of the nodes that they lead to."""
        beside = {other: path[-2] if end else path[1] for other, path in self.paths.items() if other[end] == name}
        others = sorted(beside, key=lambda other: self.middle(beside[other]))
        if len(others) > 1:
            return (others.index(edge) - (len(others) - 1) / 2) * min(0.24, 0.7 * self.box / len(others))
        away = self.middle(beside[edge]) - self.middle(name)
        row = {node: k // self.row for k, column in enumerate(self.columns) for node in column}
        return 0.12 * ((away > 0.3) - (away < -0.3)) if row[beside[edge]] == row[name] else 0.0

    def _box(self, ax, x: float, name: str):
        """A model's box and, below it, its SAE's strip."""
        look, y, width = self.theme.model(name), self.y[name], self.width
        ax.add_patch(FancyBboxPatch((x, y), width, self.box, boxstyle="round,pad=0,rounding_size=0.06", lw=1,
                                    facecolor=tint(look.color, 0.13), edgecolor=look.color, zorder=3))
        room = width - 0.15
        title = look.label if wide(look.label, 8, "bold") <= room else fitted(look.short, room, 8, "bold")
        ax.text(x + 0.09, y + 0.14, title, fontweight="bold", fontsize=8, color=ink(look.color), va="center", zorder=4)
        for k, line in enumerate(self.facts[name]):
            ax.text(x + 0.09, y + 0.33 + 0.135 * k, line, fontsize=6.3, va="center", zorder=4)
        if name in self.saes:
            inset, low = self.inset, y + self.box + 0.08
            ax.add_patch(FancyBboxPatch((x + inset, low), width - 2 * inset, self.strip, lw=0.7, facecolor="white",
                                        edgecolor=look.color, boxstyle="round,pad=0,rounding_size=0.04", zorder=3))
            ax.plot([x + width / 2] * 2, [low - 0.08, low], color=look.color, lw=0.8, zorder=2)
            ax.text(x + width / 2, low + self.strip / 2, "\n".join(self.saes[name]), ha="center", va="center",
                    fontsize=6.3, zorder=4, linespacing=1.25)
