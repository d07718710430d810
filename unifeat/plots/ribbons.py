"""The flow of features as ribbons between bars, layer by layer from left to right, for any lineage of a few models."""

import numpy as np

from unifeat.plots import layers
from unifeat.plots.flow_row import HEAD, STEP, Row
from unifeat.plots.spans import Tally

ROW = 3  # steps from layer to layer in a row of the page


class Alluvial:
    """Bars (models) and ribbons (features that persist). Along a bar: features; across and between bars: inches.

    More than ROW steps take several rows of the page, and the layer that ends one begins the next.
    """

    def __init__(self, flow, bounds: dict, theme):
        """flow: flow.csv, of one arm and rule; bounds: {edge: (ceiling, null)} of the child's side."""
        self.theme, self.tally = theme, Tally(flow, theme.edges)
        names = [name for name in theme.models if any(name in edge for edge in theme.edges)]
        self.live = {name: self.tally.live(name) for name in names}
        depth = layers.layers(names, theme.edges)
        paths = layers.routes(depth, theme.edges)
        columns = layers.columns(depth, paths)
        self.steps = len(columns) - 1
        parts = np.array_split(np.arange(self.steps), -(-self.steps // ROW))
        self.unit = self._unit(columns, len(parts))
        self.rows = [Row(self, bounds, depth, paths, columns[part[0]:part[-1] + 2], int(part[0])) for part in parts]
        most = max(len(part) for part in parts)
        self.margins = [max(row.margin(which) for row in self.rows) for which in ("out", "in")]
        self.most = most

    def thick(self, node) -> float:
        """Features of a node: a model's live ones, or those that persist along the edge that bends."""
        return self.tally.edge(*node[:2], "persist")[0] if isinstance(node, tuple) else self.live[node]

    def _unit(self, columns, rows: int) -> float:
        """Inches of height of a feature: the fullest layer fills the height that its bars and their labels ask for."""
        units = []
        for column in columns:
            models = [name for name in column if name in self.live]
            room = {0: 2.0, 1: 2.0, 2: 2.85}.get(len(models), 0.95 * len(models) - HEAD)
            parts = [sum(len(self.tally.parted(name, which)) for name in models) for which in ("in", "out")]
            room = max(room if rows == 1 else max(1.4, 0.8 * room), STEP * max(parts))
            total = sum(map(self.thick, column))
            units += [(room - HEAD * (len(models) - 1)) / total] if total else []
        return min(units, default=0.0)

    def unnamed(self) -> list[tuple]:
        """Parts that have no room beside their bars: (model, "in" or "out", its `spans.Side`)."""
        return [(name, which, side) for row in self.rows for (name, which), side in row.sides.items()
                if side.parts and name not in row.outer(which)]

    def color(self, edge) -> str:
        """A ribbon's color: its child's, or where several run into one child, its parent's."""
        return self.theme.color(edge[0] if len(self.tally.parents[edge[1]]) > 1 else edge[1])
