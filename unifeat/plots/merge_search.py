"""The figure of merging by development text: evolution by generation, rates, and every method on every domain."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from unifeat.plots.names import clipped, legend
from unifeat.plots.style import GREY, LeftOut, ink, picture, styled, tint

NONE = "No root of this lineage has two children that are merged, so there is nothing to search."
METHODS = {"best_single": "best of root and children", "mean": "mean of the children", "slerp_half": "SLERP, t = 0.5",
           "slerp_grid": "SLERP, best t", "simplex_grid": "best mean of all three", "greedy_soup": "greedy soup",
           "cma": "CMA-ES, weights by part", "evolver_paper": "Evolver, paper's rule",
           "evolver_code": "Evolver, code's rule", "evolver_paper_expected": "paper's, expected mask",
           "evolver_code_expected": "code's, expected mask", "evolver_mean": "code's, with mean",
           "evolver_fisher": "code's, with Fisher", "evolver_regmean": "code's, with RegMean"}
RULES = {"evolver_paper": ("paper", "#0072B2"), "evolver_code": ("code", "#D55E00")}
AGAINST = "slerp_half"
ACROSS = 5  # panels of domains in a row


@styled
def merge_search(frame: pd.DataFrame, evolution: pd.DataFrame, rates: pd.DataFrame, over_seeds, theme, note: str = ""):
    """Above: macro loss of Evolver's population by generation, on development text (marks members of the first seed,
    solid the fittest of each seed) and on test text (dashed); and the loss at other f and cr. Below: the test loss of
    every method against SLERP at 0.5 of the same seed, per domain; hollow marks are seeds, bars the mean's interval.

    frame, evolution, rates: as from `merge_search.searches`, `evolution`, `rates`; over_seeds(values): low end, mean
    and high end of an interval.
    """
    if frame.empty:
        return LeftOut(NONE)
    panels = ["macro", *(domain for domain in dict.fromkeys(frame["domain"]) if domain != "macro")]
    rows = -(-len(panels) // ACROSS)
    fig = picture(3.0 + 2.9 * rows, note)
    above, below = fig.subfigures(2, 1, height_ratios=(2.2, 2.6 * rows))
    axes = above.subplots(1, 4, width_ratios=(1.35, 1.35, 1, 1))
    for ax, (method, (rule, color)) in zip(axes, RULES.items(), strict=False):
        _generations(ax, evolution[evolution["method"] == method], rule, color)
    low, high = min(ax.get_ylim()[0] for ax in axes[:2]), max(ax.get_ylim()[1] for ax in axes[:2])
    for ax in axes[:2]:
        ax.set_ylim(low, high)
    axes[0].set_ylabel("macro loss (nats per token)")
    for ax, (rule, _) in zip(axes[2:], RULES.values(), strict=True):
        _map(ax, rates[rates["rule"] == rule], rates["test"], rule)
    axes[2].set_ylabel("F (size of a mutation)")
    _domains(below, frame[frame["split"] == "test"], panels, rows, over_seeds, theme)
    legend(fig, [(Line2D([], [], color=GREY, marker=".", ls=""), "members, development text"),
                 (Line2D([], [], color="#222222"), "fittest, development text"),
                 (Line2D([], [], color="#222222", ls="--"), "the same on test text"),
                 (Line2D([], [], color="#222222", marker="o", ls="", markerfacecolor="white"), "a seed of the models"),
                 (Line2D([], [], color="#222222", lw=2.2, alpha=0.5), "95 % interval of the mean")])
    return fig


def _generations(ax, rows: pd.DataFrame, rule: str, color: str) -> None:
    first = rows[(rows["model_seed"] == rows["model_seed"].min()) & (rows["member"] != "best")]
    ax.plot(first["generation"], first["dev"], ls="", marker=".", markersize=3, color=tint(GREY, 0.7))
    for _, seed in rows[rows["member"] == "best"].groupby("model_seed"):
        ax.plot(seed["generation"], seed["dev"], color=color, lw=1.1)
        ax.plot(seed["generation"], seed["test"], color=ink(color), lw=1.1, ls="--")
    ax.set(title=f"Evolver, {rule}'s rule", xlabel="generation")
    ax.set_ylim(top=rows.loc[rows["member"] != "best", "dev"].quantile(0.9) if len(rows) else None)


def _map(ax, rows: pd.DataFrame, every: pd.Series, rule: str) -> None:
    table = rows.pivot(index="f", columns="cr", values="test")
    ax.imshow(table, cmap="cividis_r", vmin=every.min(), vmax=every.max(), origin="lower", aspect="auto")
    middle = (every.min() + every.max()) / 2
    for y, line in enumerate(table.to_numpy()):
        for x, value in enumerate(line):
            ax.text(x, y, f"{value:.3f}", ha="center", va="center", fontsize=6.3,
                    color="white" if value > middle else "#222222")
    ax.set_xticks(range(table.shape[1]), [f"{value:g}" for value in table.columns])
    ax.set_yticks(range(table.shape[0]), [f"{value:g}" for value in table.index])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set(title=f"test loss, {rule}'s rule", xlabel="Cr (share that crosses)")


def _domains(fig, frame: pd.DataFrame, panels: list[str], rows: int, over_seeds, theme) -> None:
    names = [name for name in METHODS if name in set(frame["method"]) and name != AGAINST]
    axes = fig.subplots(rows, min(len(panels), ACROSS), sharey=True, squeeze=False).ravel()
    for ax, domain in zip(axes, panels, strict=False):
        wide = frame[frame["domain"] == domain].pivot(index="model_seed", columns="method", values="loss_nats")
        found = wide.sub(wide[AGAINST], axis=0)
        reach = 1.15 * np.nanmax(np.abs(found[names[1:]].to_numpy()))
        ax.axvline(0, color="#222222", lw=0.7)
        for y, name in enumerate(names):
            color = RULES[name][1] if name in RULES else GREY
            low, mean, high = over_seeds(found[name].to_numpy())
            if abs(mean) > reach:  # the best single model, which would make the others one dot
                side = 1 if mean > 0 else -1
                ax.annotate(f"{mean:+.2f}", (side * reach, y), (-3 * side, 0), textcoords="offset points", va="center",
                            ha="right" if side > 0 else "left", fontsize=6.3, color=ink(color))
                continue
            ax.plot([low, high], [y, y], color=color, lw=2.2, alpha=0.5)
            ax.plot(found[name], [y] * len(found), ls="", marker="o", markersize=3.2, color=color,
                    markerfacecolor="white")
            ax.plot([mean], [y], ls="", marker="|", markersize=7, color=ink(color))
        ax.set(xlim=(-reach, reach), ylim=(len(names) - 0.5, -0.5),
               title="all domains" if domain == "macro" else clipped(theme.domain(domain).label, 18))
        ax.locator_params(axis="x", nbins=3)
        ax.tick_params(axis="y", length=0)
    for ax in axes[len(panels):]:
        ax.set_axis_off()
    for ax in axes[::min(len(panels), ACROSS)]:
        ax.set_yticks(range(len(names)), [METHODS[name] for name in names])
    fig.supxlabel("test loss minus that of SLERP at t = 0.5 (nats per token; left is better)", fontsize=7)
