"""The ladder: what permuted tokens, rotated activations and an untrained model share, up to a second SAE of the same
model."""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies import baselines, shares
from unifeat.studies.persistence import evidence, seed_pairs, untrained
from unifeat.studies.shares import Evidence

EDGES, CEILINGS = "edges, independent SAEs", "seed ceiling: two SAEs of one model"


def ladder(run: Run) -> pd.DataFrame:
    """The ladder, one row per live feature of the child: group, comparison, rule (best, one_to_one), r.

    r is that of the best match, or of the one-to-one partner (missing where the parent has too few features).
    """
    frames = []
    for group, comparison, tables, label in _rungs(run):
        for table in tables:
            best, assigned = table[f"{label}_of_b"], np.full(len(table["r_of_b"]), np.nan)
            assigned[table["assigned" if label == "r" else "null_pairs"][:, 1]] = table[f"{label}_assigned"]
            frames += [pd.DataFrame(dict(group=group, comparison=comparison, rule=rule, r=r))
                       for rule, r in (("best", best), ("one_to_one", assigned))]
    return pd.concat(frames, ignore_index=True)


def _rungs(run: Run):
    """Rungs from top to bottom: (group, comparison, tables of `comparison.compare`, "r" or "null")."""
    seeds = seed_pairs(run, "controlled")
    a, b = seeds[0]
    tables = {edge: [run.compare((edge[0], i), (edge[1], j)).table for i, j in seeds] for edge in run.lineage.pairs}
    for parent, child in run.lineage.pairs:
        yield EDGES, f"{parent} → {child}", tables[parent, child], "r"
    for name in run.lineage.names:
        yield CEILINGS, name, [one.table for one in run.twins(name)], "r"
    for parent, child in run.lineage.edges:
        yield "raw MLP neurons, no SAE", f"neurons: {parent} → {child}", [baselines.neurons(run, parent, child)], "r"
    for name in run.lineage.names:
        yield "SAE of an untrained model", f"untrained → {name}", [baselines.random(run, (name, b))], "r"
    for parent, child in run.lineage.edges:
        yield "null: permuted within the token", f"{parent} → {child}, within token", tables[parent, child][:1], "null"
    for kind, what in (("rotated", "activations rotated"), ("permuted", "tokens permuted")):
        for parent, child in run.lineage.edges:
            yield (f"null: {what}", f"{parent} → {child}, {kind}",
                   [getattr(baselines, kind)(run, (parent, a), (child, b))], "r")


def ladder_table(run: Run, tau: float | None = None) -> pd.DataFrame:
    """ladder.csv: per rung and rule the quantiles of r, and the share of the child's features with r >= tau.

    Edges have their ceiling, their nulls and the excess over the null within tokens, with 95 % intervals over documents
    and SAE seeds; a ceiling's own row says what it is made of.
    """
    tau = run.lineage.comparison.tau if tau is None else tau
    spread = quantiles(ladder(run)).set_index(["group", "comparison", "rule"])
    rows = []
    for group, comparison, tables, label in _rungs(run):
        for rule in ("best", "one_to_one"):
            row = dict(group=group, comparison=comparison, rule=rule,
                       n_parent=np.mean([len(one["r_of_a"]) for one in tables]),
                       n_child=np.mean([len(one["r_of_b"]) for one in tables]))
            rows.append(row | dict(spread.loc[group, comparison, rule].drop("count"))
                        | _shares(run, group, comparison, tables, label, rule, tau))
    return pd.DataFrame(rows)


def _shares(run: Run, group: str, comparison: str, tables: list[dict], label: str, rule: str, tau: float) -> dict:
    """The share of a rung with its interval; of an edge also ceiling, nulls and excess."""
    if group == CEILINGS:
        one = Evidence(run.twins(comparison), dict(child=run.twins(comparison)))
        found = shares.at(shares.ceiling(one, rule), tau)
        return {new: found[old] for new, old in zip(("observed", *shares.ENDS), found, strict=True)}
    if label == "null":
        return dict(observed=np.mean([shares.values(one, "null", rule, "child")[shares.number(tau)] for one in tables]))
    if group != EDGES:
        return shares.at(shares.alone(tables, rule), tau)
    edge = tuple(comparison.split(" → "))
    found = shares.at(shares.measured(evidence(run, *edge), rule), tau)
    hard = dict(null_untrained=untrained(run, edge, "child", rule)[shares.number(tau)], null_rotated=np.nan)
    if edge in run.lineage.edges:
        a, b = seed_pairs(run, "controlled")[0]
        turned = baselines.rotated(run, (edge[0], a), (edge[1], b))
        hard["null_rotated"] = turned[f"observed.{rule}.child"][shares.number(tau)]
    return found | hard


def quantiles(ladder: pd.DataFrame) -> pd.DataFrame:
    """What the ladder draws, as numbers: count, mean and quantiles of r per row and rule."""
    found = ladder.groupby(["group", "comparison", "rule"], sort=False)["r"].describe(
        percentiles=[0.1, 0.25, 0.5, 0.75, 0.9])
    return found.drop(columns=["std"]).reset_index()
