"""Figure 2: the flow of features along every edge, with its ceiling, null and thresholds."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.flow_table import Table
from unifeat.plots.labels import edge_name
from unifeat.plots.ribbons import Alluvial
from unifeat.plots.style import WIDTH, LeftOut, crowded, hint, ink, picture, styled

RULES = {"best": "many-to-one", "mutual": "mutual best", "one_to_one": "one-to-one"}
NARROW, BESIDE, BELOW = 2, 8, 4  # steps and panels with which they fit beside the flow; panels abreast below it
LINES = {"observed, 95 % CI": ("#222222", "-", 1.1), "seed ceiling": ("#666666", (0, (4, 1.6)), 0.9),
         "null": ("#666666", ":", 1.1)}


@styled
def flow(flow: pd.DataFrame, persistence: pd.DataFrame, theme, arm: str = "controlled", rule: str = "one_to_one",
         tau: float = 0.8, note: str = ""):
    """Figure 2: which features persist, emerge and disappear, beside seed ceiling, null and every threshold.

    flow: flow.csv: source, target, kind, features, share. Edges have the kinds persist and emerge (share of the
    target's live features) and disappear (share of the source's). Rows with a source "both" (of more than two parents
    "several"), "<parent> only" or "new" split a model's live features by origin; a target "both" ("several"),
    "<child> only" or "neither" splits them by fate. persistence: persistence.csv: parent, child, side, rule, tau,
    features, observed, ci_low, ci_high, ceiling, null, excess at many tau; the features "beyond_both" get a block of
    the table. Both are narrowed to `arm` and `rule`. A lineage without an edge is left out.
    """
    if out := crowded(theme.models, "Figure 2", "data/flow.csv"):
        return out
    if not theme.edges:
        return LeftOut("Figure 2 needs at least one edge, that is a model made of another, and this lineage has none.")
    rows = _select(persistence, arm=arm, rule=rule)
    beyond = rows[np.isclose(rows["tau"].astype(float), tau)]
    rows = _select(rows, features="all")
    chosen = rows[np.isclose(rows["tau"].astype(float), tau)]
    bounds = {(row.parent, row.child): (row.ceiling, row.null) for row in _select(chosen, side="child").itertuples()}
    alluvial = Alluvial(_select(flow, arm=arm, rule=rule), bounds, theme)
    title = f"Live features: r ≥ {tau:g}, {RULES.get(rule, rule)}, arm {arm}"
    table = Table(chosen, _beyond(beyond), theme, tau, alluvial)
    page = _Page(alluvial, theme, table.height, note)
    page.flow(alluvial, title)
    page.curves(_select(rows, side="child"), theme, tau)
    table.draw(page.axes(0.05, page.middle + 0.05, WIDTH - 0.1, table.height))
    return page.fig


def _select(frame: pd.DataFrame, **wanted) -> pd.DataFrame:
    for column, value in wanted.items():
        if column in frame:
            frame = frame[frame[column] == value]
    return frame


def _beyond(rows: pd.DataFrame) -> pd.DataFrame | None:
    """The rows on the child's features that neither the token nor one neuron decides; None where there are none."""
    if "features" not in rows:
        return None
    rows = _select(rows, side="child", features="beyond_both")
    return rows if len(rows) else None


class _Page:
    """Where things stand, in inches from the page's upper left corner: flow, curves beside or below it, table."""

    def __init__(self, alluvial: Alluvial, theme, table: float, note: str):
        self.spans = [(row.top, row.bottom) for row in alluvial.rows] if alluvial.unit else [(0.0, 2.0)]
        edges, tall = len(theme.edges), sum(b - a for a, b in self.spans) + 0.1 * (len(self.spans) - 1)
        self.beside = alluvial.steps <= NARROW and edges <= BESIDE
        self.across = (1 if edges < 3 else 2) if self.beside else min(edges, BELOW)
        down = -(-edges // self.across)
        left = 4.66 if self.beside else 0.05
        self.width = left - 0.1 if self.beside else WIDTH - 0.1
        self.names = [edge_name(theme, *edge, self._wide() - 0.02, 7) for edge in theme.edges]
        head = 0.28 + 0.13 * any("\n" in name for name in self.names)
        if self.beside:
            tall = max(tall, 0.05 + (0.85 + head) * down)
            panel = min((tall + 0.1) / down - head, 1.6)
            self.box, self.middle = (left, 0.25, panel, head), max(0.28 + tall, 0.35 + (panel + head) * down) + 0.4
        else:
            self.box = (left, 0.28 + tall + 0.2, 0.85, head)
            self.middle = self.box[1] + 0.08 + (0.85 + head) * down + 0.4
        self.top = 0.28 + (max(tall - sum(b - a for a, b in self.spans), 0) / 2 if len(self.spans) == 1 else 0)
        self.high = self.middle + 0.05 + table + 0.16 + 0.12 * (1 + len(note) // 167) * bool(note)
        self.fig = picture(self.high, note, layout="none")

    def _wide(self) -> float:
        """Inches of a panel with the space to its right."""
        return (WIDTH - 0.12 - (4.66 if self.beside else 0.05) - 0.5) / self.across

    def axes(self, x: float, y: float, width: float, height: float):
        """Axes whose upper left corner is (x, y)."""
        return self.fig.add_axes((x / WIDTH, 1 - (y + height) / self.high, width / WIDTH, height / self.high))

    def flow(self, alluvial: Alluvial, title: str):
        """The alluvial, one row of the page below the other."""
        self.fig.text(0.3 / WIDTH, 1 - 0.1 / self.high, title, fontsize=7, va="center")
        if not alluvial.unit:
            ax = self.axes(0.05, self.top, self.width, 2.0)
            ax.axis("off")
            hint(ax, "no live features")
            return
        y = self.top
        for row, (upper, lower) in zip(alluvial.rows, self.spans, strict=True):
            row.draw(self.axes(0.05, y, self.width, lower - upper), self.width)
            y += lower - upper + 0.1

    def curves(self, curve: pd.DataFrame, theme, tau: float):
        """Share of the child's features with a parent, against the threshold, one small panel per edge."""
        left, top, panel, head = self.box
        wide = self._wide()
        for number, edge in enumerate(theme.edges):
            x, y = left + 0.5 + wide * (number % self.across), top + (panel + head) * (number // self.across) + head
            ax = self.axes(x, y, min(wide - 0.17, 1.75), panel)
            rows = curve[(curve["parent"] == edge[0]) & (curve["child"] == edge[1])].sort_values("tau")
            _panel(ax, rows, theme.color(edge[1]), tau)
            ax.set_title(self.names[number], fontsize=7, color=ink(theme.color(edge[1])), linespacing=1.1)
            ax.tick_params(labelleft=number % self.across == 0,
                           labelbottom=number + self.across >= len(theme.edges))
        down = -(-len(theme.edges) // self.across)
        low, last = top + (panel + head) * down, left + 0.5 + wide * self.across
        self.fig.text((left + 0.5 + last - 0.17) / 2 / WIDTH, 1 - (low + 0.3) / self.high, "threshold on r", fontsize=7,
                      ha="center", va="center")
        self.fig.text((left + 0.08) / WIDTH, 1 - (top + head + low) / 2 / self.high,
                      "child's features with a parent (%)" if panel * down > 1.6 else "with a parent (%)", fontsize=7,
                      rotation=90, ha="center", va="center")
        handles = [Line2D([], [], color=color, ls=style, lw=width) for color, style, width in LINES.values()]
        self.fig.legend(handles, list(LINES), loc="center", ncols=3, fontsize=6, handlelength=1.5, columnspacing=0.8,
                        bbox_to_anchor=((left + 0.5 + last - 0.17) / 2 / WIDTH, 1 - (top - 0.13) / self.high),
                        handletextpad=0.4)


def _panel(ax, rows: pd.DataFrame, color, tau: float):
    x, names = rows["tau"].to_numpy(float), ("observed", "ci_low", "ci_high", "ceiling", "null")
    lines = {name: 100 * rows[name].to_numpy(float) for name in names}
    for name, (grey, style, width) in zip(("ceiling", "null"), list(LINES.values())[1:], strict=True):
        ax.plot(x, lines[name], color=grey, ls=style, lw=width)
    ax.fill_between(x, lines["ci_low"], lines["ci_high"], color=color, alpha=0.25, lw=0)
    ax.plot(x, lines["observed"], color=color)
    ax.axvline(tau, color="#222222", lw=0.6, ls=(0, (1, 1.5)), zorder=0)
    marks = [mark for mark in (0, 0.5, 1) if abs(mark - tau) > 0.12] + [tau]
    ax.set(xlim=(0, 1), ylim=(0, 103), yticks=(0, 50, 100))
    ax.set_xticks(sorted(marks), [f"{mark:g}".replace("0.", ".") for mark in sorted(marks)])
    if not np.isfinite(lines["observed"]).any():
        hint(ax, "no live\nfeatures")
