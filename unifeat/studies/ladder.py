"""The ladder: what permuted tokens, rotated activations and an untrained model share, up to a second SAE of the same
model."""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies import baselines
from unifeat.studies.persistence import bounded, number, seed_pairs, share, twins


def ladder(run: Run) -> pd.DataFrame:
    """The ladder, one row per live feature of the child: group, comparison, rule (best, one_to_one), r.

    r is that of the best match, or of the one-to-one partner (missing where the parent has too few features).
    """
    frames = []
    for group, comparison, pairs, label in _rungs(run):
        for table in pairs:
            best, assigned = table[f"{label}_of_b"], np.full(len(table["r_of_b"]), np.nan)
            assigned[table["assigned"][:, 1]] = table["r_assigned"] if label == "r" else table["null_assigned"]
            frames += [pd.DataFrame(dict(group=group, comparison=comparison, rule=rule, r=r))
                       for rule, r in (("best", best), ("one_to_one", assigned))]
    return pd.concat(frames, ignore_index=True)


def _rungs(run: Run):
    """Rungs from top to bottom: (group, comparison, tables of `comparison.compare`, "r" or "null")."""
    seeds = seed_pairs(run, "controlled")
    a, b = seeds[0]
    tables = {edge: [run.compare((edge[0], i), (edge[1], j)).table for i, j in seeds] for edge in run.lineage.pairs}
    for parent, child in run.lineage.pairs:
        yield "edges, independent SAEs", f"{parent} → {child}", tables[parent, child], "r"
    for name in run.lineage.names:
        yield "seed ceiling: two SAEs of one model", name, [one.table for one in twins(run, name)], "r"
    for parent, child in run.lineage.edges:
        yield "raw MLP neurons, no SAE", f"neurons: {parent} → {child}", [baselines.neurons(run, parent, child)], "r"
    for name in run.lineage.names:
        yield "SAE of an untrained model", f"untrained → {name}", [baselines.random(run, (name, b))], "r"
    for parent, child in run.lineage.edges:
        yield ("null: activations rotated", f"{parent} → {child}, rotated",
               [baselines.rotated(run, (parent, a), (child, b))], "r")
    for parent, child in run.lineage.edges:
        yield "null: tokens permuted", f"{parent} → {child}, permuted", tables[parent, child][:1], "null"


def ladder_table(run: Run, tau: float | None = None) -> pd.DataFrame:
    """ladder.csv: per rung and rule the quantiles of r, and the share of the child's features with r >= tau.

    Edges have their ceiling (mean over the two SAEs' pairs of the child), both nulls and the excess over the
    permuted null, with 95 % intervals over documents; a ceiling's own row says what it is made of.
    """
    tau = run.lineage.comparison.tau if tau is None else tau
    spread = quantiles(ladder(run)).set_index(["group", "comparison", "rule"])
    rows = []
    for group, comparison, pairs, label in _rungs(run):
        for rule in ("best", "one_to_one"):
            row = dict(group=group, comparison=comparison, rule=rule,
                       n_parent=np.mean([len(one["r_of_a"]) for one in pairs]),
                       n_child=np.mean([len(one["r_of_b"]) for one in pairs]))
            row |= dict(spread.loc[group, comparison, rule].drop("count")) | share(pairs, rule, tau, label)
            if group.startswith("edges"):
                edge = tuple(comparison.split(" → "))
                row |= bounded(pairs, [one.table for one in twins(run, edge[1])], rule, tau)
                row["null_rotated"] = _turned(run, edge, rule, tau)
            rows.append(row)
    return pd.DataFrame(rows)


def _turned(run: Run, edge: tuple[str, str], rule: str, tau: float) -> float:
    if edge not in run.lineage.edges:
        return np.nan
    a, b = seed_pairs(run, "controlled")[0]
    return baselines.rotated(run, (edge[0], a), (edge[1], b))[f"observed.{rule}.child"][number(tau)]


def quantiles(ladder: pd.DataFrame) -> pd.DataFrame:
    """What the ladder draws, as numbers: count, mean and quantiles of r per row and rule."""
    found = ladder.groupby(["group", "comparison", "rule"], sort=False)["r"].describe(
        percentiles=[0.1, 0.25, 0.5, 0.75, 0.9])
    return found.drop(columns=["std"]).reset_index()
