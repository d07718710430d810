"""The table of Figure 2: every edge's observed share with its interval, ceiling, null and excess."""

from textwrap import fill

import pandas as pd

from unifeat.plots.flow_row import part_name
from unifeat.plots.labels import edge_name
from unifeat.plots.style import WIDTH, count, finite, ink, percent

LEGEND = (
    "Flow: percentages of the child's live features, or of the parent's where features disappear; below a ribbon's "
    "number, in per cent, its seed ceiling, that is the share between two SAEs of the child, and its null, that is the "
    "share when activations trade places within their token. White dashes stand where the persisting part would end at "
    "the ceiling. Table: per cent. Excess = (observed − null) / (ceiling − null). Intervals: documents and SAE seeds."
)
LINE, SMALL = 0.132, 0.115  # inches: a line of the table, of the text below it
BLOCK = 2.02  # inches that a block of columns needs


class Table:
    """Rows of persistence.csv at tau, a row per edge; `beyond` has those on the features beyond both, or is None."""

    def __init__(self, rows: pd.DataFrame, beyond: pd.DataFrame | None, theme, tau: float, alluvial):
        self.theme, self.blocks = theme, {}
        self.blocks["of the child's features: have a parent"] = rows[rows["side"] == "child"]
        if beyond is not None:
            self.blocks["of those beyond token and neuron"] = beyond
        self.blocks["of the parent's features: survive"] = rows[rows["side"] == "parent"]
        self.left = WIDTH - 0.1 - BLOCK * 3 if beyond is not None else 1.9
        self.names = [edge_name(theme, *edge, self.left - 0.08, 6.5, "bold") for edge in theme.edges]
        self.line = LINE * (1.75 if any("\n" in name for name in self.names) else 1)
        self.legend = fill(" ".join([LEGEND, *_meant(beyond, tau), *_splits(alluvial)]), 158,
                           break_on_hyphens=False)
        self.height = 0.39 + self.line * len(self.names) + 0.08 + SMALL * (1 + self.legend.count("\n"))

    def draw(self, ax):
        """The table and the text below it, in inches."""
        ax.axis("off")
        ax.set(xlim=(0, WIDTH - 0.1), ylim=(self.height, 0))
        y = [0.39 + self.line * (k + 0.5) for k in range(len(self.names))]
        for name, edge, middle in zip(self.names, self.theme.edges, y, strict=True):
            ax.text(0, middle, name, fontsize=6.5, fontweight="bold", color=ink(self.theme.color(edge[1])),
                    va="center", linespacing=1.05)
        for number, (head, rows) in enumerate(self.blocks.items()):
            left = self.left + number * (WIDTH - 0.1 - self.left) / len(self.blocks)
            columns = [left, left + 1.27, left + 1.59, left + 1.92]
            ax.text(left, 0.08, head, fontsize=6.3, fontweight="bold", va="center")
            for x, name, align in zip(columns, ("observed [95 % CI]", "ceiling", "null", "excess"),
                                      ("left", *["right"] * 3), strict=True):
                ax.text(x, 0.25, name, fontsize=6.1, color="#555555", va="center", ha=align)
            for edge, middle in zip(self.theme.edges, y, strict=True):
                for x, cell, align in zip(columns, _cells(rows, *edge), ("left", *["right"] * 3), strict=True):
                    ax.text(x, middle, cell, fontsize=6.5, ha=align, va="center")
        ax.plot([0, WIDTH - 0.1], [0.35, 0.35], color="#333333", lw=0.5)
        ax.text(0, 0.39 + self.line * len(y) + 0.08, self.legend, fontsize=6, color="#555555", va="top",
                linespacing=1.35)


def _cells(rows: pd.DataFrame, parent: str, child: str) -> tuple:
    """Observed share with its interval, ceiling, null and excess of an edge, as texts."""
    row = rows[(rows["parent"] == parent) & (rows["child"] == child)]
    values = row.iloc[0] if len(row) else {}
    interval = [values.get(key) for key in ("ci_low", "ci_high")]
    text = percent(values.get("observed"))
    if all(finite(value) for value in interval):
        text += f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    bare = [percent(values.get(key)).removesuffix(" %") for key in ("ceiling", "null")]  # narrow columns
    return text, *bare, percent(values.get("excess"), 0)


def _meant(beyond: pd.DataFrame | None, tau: float) -> list[str]:
    if beyond is None:
        return []
    return [f"Beyond token and neuron: r with the feature's mean given the current token, and the decoder's cosine "
            f"with every axis of what the SAE reads, lie below {tau:g}."]


def _splits(alluvial) -> list[str]:
    """Sentences on what the drawing has no room for: parts of models in the middle, models without an edge."""
    out, theme = [], alluvial.theme
    for name, which, side in alluvial.unnamed():
        parts = (f"{count(features)} ({percent(share, 0)}) {part_name(theme, label, other, which, 30)}"
                 for label, other, (features, share), _ in side.parts)
        out.append(f"{theme.short(name)}, by {'origin' if which == 'in' else 'fate'}: {', '.join(parts)}.")
    if len(alluvial.rows) > 1:
        out.append("The layer that ends a row of bars begins the next.")
    alone = [theme.short(name) for name in theme.models if name not in alluvial.live]
    return out + ([f"Without an edge, so not drawn: {', '.join(alone)}."] if alone else [])
