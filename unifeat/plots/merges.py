"""Figure 5: what a merge of two models loses and keeps on the way from the first parent to the second."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots import merge_kept
from unifeat.plots.models import end_labels
from unifeat.plots.names import clipped, legend
from unifeat.plots.style import LeftOut, finite, ink, ordered, picture, styled, tint

SCALES = (("accuracy", 100, "next-token accuracy (%)"), ("loss_nats", 1, "cross-entropy (nats)"))
METHODS = {"slerp": "-", "lerp": ":"}
PARENT, ABOVE, PUBLISHED = (0, (5, 2)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.5))
LEVELS = 4  # own domains up to which the parents' levels are drawn across the panel


@styled
def merge_sweep(sweep: pd.DataFrame | None, theme, picked=None, published_t=None, kept=None, points=None,
                note: str = ""):
    """Accuracy and loss (nats per token) of a merge along t, lerp beside slerp; dashed: both parents and the model they
    come from. Beside them the share of each parent's accuracy that is kept.

    sweep: merge_sweep.csv: method (slerp | lerp), t, domain, loss_nats, accuracy, and optionally merge, the merged
    model (the first is drawn). The parents' levels are the sweep's own ends, so that the curves meet them; rows of
    method "base" are the level of the model above both. picked: the t of this merge; published_t: the paper's. The
    parents' own domains are drawn strong. kept: merge_kept.csv: source ("this run" | "published"), parent, t, kept (a
    share); points: source, point ("balanced" | "stated"), t, parent, kept, which are marked and labelled.
    """
    merges = [name for name in theme.models if len(_parents(theme, name)) == 2]
    if sweep is not None and "merge" in sweep:
        first = next(iter(sweep["merge"]), None)
        sweep, merges = sweep[sweep["merge"] == first], ordered(merges, [first]) if first in merges else []
    if sweep is None or not len(sweep) or not merges:
        return LeftOut("Figure 5 needs a merge of two models, and this lineage has none.")
    plan = _plan(sweep, theme, _parents(theme, merges[0]))
    fig = picture(4.1, note)
    grid = fig.add_gridspec(2, 2, width_ratios=(1, 1.12))
    axes = [fig.add_subplot(grid[0, 0]), fig.add_subplot(grid[1, 0]), fig.add_subplot(grid[:, 1])]
    if len(merges) > 1:
        axes[0].set_title(f"{clipped(theme.model(merges[0]).label, 24)}, the first of {len(merges)} merges",
                          color=ink(theme.color(merges[0])), fontweight="bold")
    for ax, (column, scale, label) in zip(axes[:2], SCALES, strict=True):
        labels = []
        for domain in plan.domains:
            labels += _curves(ax, plan, domain, scale * plan.rows[domain].set_index(["method", "t"])[column])
        ax.set(ylabel=label)
        ax.yaxis.get_major_locator().set_params(nbins=6)  # as many before the layout as after it
        ax.margins(y=0.04)
        end_labels(ax, 1.0, labels, 0.085)
    merge_kept.draw(axes[2], plan.theme, plan.parents, kept, points)
    for ax in axes:
        ax.set(xlim=(0, 1), xticks=np.linspace(0, 1, 6))
        for t, style in ((picked, "-"), (published_t, PUBLISHED)):
            if finite(t):
                ax.axvline(t, color="#222222", lw=0.8, ls=style, zorder=1)
    axes[0].tick_params(labelbottom=False)
    for ax in axes[1:]:
        ax.set_xlabel(_ends([theme.short(name) for name in plan.parents]))
    legend(fig, _entries(plan, picked, published_t) + merge_kept.entries(kept))
    return fig


@dataclass(frozen=True)
class _Plan:
    theme: object
    parents: tuple[str, str]
    above: str  # the model that both parents come from, or ""
    domains: list[str]  # those of the parents first
    rows: dict[str, pd.DataFrame]  # of the sweep, by domain
    colors: dict[str, str]
    levels: bool  # whether the parents' levels are drawn

    def main(self, domain: str) -> bool:
        return any(domain in self.own(parent) for parent in self.parents)

    def own(self, parent: str) -> tuple[str, ...]:
        return self.theme.own.get(parent, ())


def _plan(sweep: pd.DataFrame, theme, parents) -> _Plan:
    own = [theme.own.get(parent, ()) for parent in parents]
    domains = ordered(sweep["domain"], [*own[0], *own[1], *theme.domains])
    colors = {domain: theme.domain(domain).color for domain in domains}
    if [len(one) for one in own] == [1, 1]:  # a parent's only domain has the parent's color, if no other domain has it
        wished = colors | {one[0]: theme.color(parent) for parent, one in zip(parents, own, strict=True)}
        colors = wished if len(set(wished.values())) == len(domains) else colors
    above = [name for name in _parents(theme, parents[0]) if name in _parents(theme, parents[1])]
    main = [domain for domain in domains if domain in own[0] + own[1]]
    return _Plan(theme, tuple(parents), above[0] if above and (sweep["method"] == "base").any() else "", domains,
                 {domain: sweep[sweep["domain"] == domain] for domain in domains}, colors, len(main) <= LEVELS)


def _parents(theme, name: str) -> list[str]:
    return [parent for parent, child in theme.edges if child == name]


def _curves(ax, plan: _Plan, domain: str, values: pd.Series) -> list:
    """Draws one domain's lines out of values by (method, t); returns the label of its right end."""
    color, main = plan.colors[domain], plan.main(domain)
    drawn = {method: values[method].sort_index() for method in METHODS if method in values.index}
    for method, line in drawn.items():
        marker = {"marker": "o", "markersize": 2.2} if main and METHODS[method] == "-" else {}
        ax.plot(line.index, line, ls=METHODS[method], lw=1.2 if main else 0.8, color=color, alpha=1.0 if main else 0.45,
                **marker)
    line = next(iter(drawn.values()), pd.Series(dtype=float))  # methods have the same ends, the parents
    levels = [(line[line.index == t], color, PARENT) for t, parent in enumerate(plan.parents)
              if domain in plan.own(parent)]
    if main and plan.above:
        levels.append((values[values.index.get_level_values("method") == "base"], tint(color, 0.6), ABOVE))
    for level, shade, style in levels if plan.levels else ():
        if len(level) and finite(level.iloc[0]):
            ax.axhline(level.iloc[0], color=shade, lw=0.7, ls=style)
    return [(line.iloc[-1], f"on {clipped(plan.theme.domain(domain).label, 16)}", color)] if len(line) else []


def _ends(names: list[str]) -> str:
    """What t means, in one line or two."""
    line = f"t (0 = {names[0]}, 1 = {names[1]})"
    return line if len(line) <= 46 else "\n".join(f"t = {t}: {clipped(name, 46)}" for t, name in enumerate(names))


def _entries(plan: _Plan, picked, published_t) -> list:
    line = {"color": "#444444"}
    drawn = set().union(*(rows["method"] for rows in plan.rows.values()))
    entries = [(Line2D([], [], lw=1.2, ls=style, marker="o" if style == "-" else "", markersize=2.2, **line), method)
               for method, style in METHODS.items() if method in drawn]
    if plan.levels and any(plan.main(domain) for domain in plan.domains):
        entries.append((Line2D([], [], ls=PARENT, lw=0.7, **line), "the domain's own parent"))
        if plan.above:
            name = clipped(plan.theme.short(plan.above), 30)
            entries.append((Line2D([], [], ls=ABOVE, lw=0.7, **line), name))
    for t, style, name in ((picked, "-", "chosen"), (published_t, PUBLISHED, "paper")):
        if finite(t):
            entries.append((Line2D([], [], color="#222222", lw=0.8, ls=style), f"{name}, t = {t:.2f}"))
    return entries
