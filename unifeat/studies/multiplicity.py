"""Two checks on matching: how many children share one parent feature, and how many pairs have one index in both SAEs.

Both take comparisons of SAE pairs (`run.compare`): those of an edge, or of seed twins beside it (`run.twins`).
In each, a is the parent and b the child.
"""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.matching.comparison import Comparison
from unifeat.studies import persistence


def multiplicity(pairs: list[Comparison], tau: float) -> dict:
    """How far the `best` rule is many-to-one: the child's features with r >= tau, and the partners that they choose.

    passing: such features; partners: parent features that they choose; shared: the share of them whose partner another
    of them has chosen too (NaN where none passes); all three are means over pairs of SAEs. largest: the most children
    of one parent feature, in any pair.
    """
    rows = []
    for one in pairs:
        chosen = one.table["best_of_b"][one.kept("best", tau)[1]]
        _, partner, children = np.unique(chosen, return_inverse=True, return_counts=True)
        rows.append(dict(passing=len(chosen), partners=len(children), shared=_share(children[partner] > 1),
                         largest=children.max(initial=0)))
    frame = pd.DataFrame(rows, columns=["passing", "partners", "shared", "largest"])
    return frame[["passing", "partners", "shared"]].mean().to_dict() | dict(largest=int(frame["largest"].max()))


def same_index(pairs: list[Comparison], tau: float) -> dict:
    """Share of the pairs with r >= tau that have one index in both SAEs, mean over pairs of SAEs.

    best: of each child feature's best match; one_to_one: of the assignment; NaN where no pair of features passes.
    chance: the same for partners drawn at random among the live features; 1 / width where all latents are live. SAEs
    that started from the same weights may have inherited their indices.
    """
    rows = []
    for one in pairs:
        passing = one.kept("best", tau)[1]
        assigned = one.table["assigned"][one.table["r_assigned"] >= tau]
        both = np.intersect1d(one.live_a, one.live_b)
        possible = len(one.live_a) * len(one.live_b)
        rows.append(dict(best=_share(one.live_a[one.table["best_of_b"][passing]] == one.live_b[passing]),
                         one_to_one=_share(one.live_a[assigned[:, 0]] == one.live_b[assigned[:, 1]]),
                         chance=len(both) / possible if possible else np.nan))
    return pd.DataFrame(rows, columns=["best", "one_to_one", "chance"]).mean().to_dict()


def table(groups: dict[str, list[Comparison]], tau: float) -> pd.DataFrame:
    """One row per group of comparisons (an edge in an arm, or a model's twins): both checks; columns as theirs, with
    same_best, same_one_to_one and same_chance."""
    return pd.DataFrame([dict(pairs=name) | multiplicity(pairs, tau)
                         | {f"same_{key}": value for key, value in same_index(pairs, tau).items()}
                         for name, pairs in groups.items()])


def of_run(run: Run) -> pd.DataFrame:
    """multiplicity.csv: `table` of every edge in each arm, and of every model's seed twins (pairs `x → x`)."""
    groups = {}
    for arm, one in persistence.arms(run).items():
        groups |= {f"{parent} → {child}, {arm}": persistence.evidence(one, parent, child, arm).pairs
                   for parent, child in one.lineage.edges}
        groups |= {f"{name} → {name}, {arm}": one.twins(name) for name in one.lineage.names}
    return table(groups, run.lineage.comparison.tau)


def answer(frame: pd.DataFrame) -> str:
    """One sentence: how far best matches are many-to-one on the edges, and how many pairs share an index."""
    ends = frame["pairs"].str.extract(r"^(.*) → (.*), (.*)$")
    edges, twins = frame[ends[0] != ends[1]], frame[ends[0] == ends[1]]
    if edges.empty:
        return "This lineage has no edge, so nothing is matched between two models."
    worst = edges.loc[edges["shared"].fillna(-1).idxmax()]
    told = [f"{rows['same_one_to_one'].mean():.1%} {arm.replace('_', ' ')} (chance {rows['same_chance'].mean():.2%})"
            for arm, rows in edges.groupby(ends[2], sort=False)]
    return (f"By best match, {worst['shared']:.1%} of the child's persisting features share their partner with another "
            f"on {worst['pairs'].split(',')[0]}, the most of all edges ({worst['passing']:,.0f} features, "
            f"{worst['partners']:,.0f} partners; two SAEs of one model {twins['shared'].mean():.1%}). Of the "
            f"one-to-one pairs these have one index on both sides: {', '.join(told)}.")


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if len(which) else np.nan
