"""What the sweep between two parents says of their merge."""

import pandas as pd

from unifeat.lineage.run import Run


def marks(run: Run, merge: str) -> dict:
    """The values of t that Figure 5 marks: this run's merge, and the published one where the lineage states it."""
    if not merge:
        return {}
    return dict(picked=run.merge_t(merge), published_t=run.lineage.models[merge].published_t)


def slerp_over_lerp(sweep: pd.DataFrame | None) -> pd.DataFrame:
    """Least and greatest accuracy that SLERP gains on a straight line over all t, per domain."""
    if sweep is None:
        return pd.DataFrame(columns=["min", "max"])
    wide = sweep.pivot_table(index=["domain", "t"], columns="method", values="accuracy")
    return (wide["slerp"] - wide["lerp"]).groupby("domain", sort=False).agg(["min", "max"])


def kept(run: Run, models: pd.DataFrame) -> pd.DataFrame:
    """What each merge keeps of its parents: one row per merge and parent.

    Columns merge, parent, t, kept: accuracy of the merge on the parent's own domains over the parent's own (means over
    domains, held-out text). models: models.csv.
    """
    held = models[models["split"] == "validation"].set_index(["model", "domain"])["accuracy"]
    rows = []
    for merge in run.merges:
        for parent in run.lineage.models[merge].origins:
            own = [(one, [(one, domain) for domain in run.lineage.mix(parent)[0]]) for one in (merge, parent)]
            (_, ours), (_, theirs) = own
            rows.append(dict(merge=merge, parent=parent, t=run.merge_t(merge),
                             kept=held.loc[ours].mean() / held.loc[theirs].mean()))
    return pd.DataFrame(rows, columns=["merge", "parent", "t", "kept"])


def complete(run: Run, merge: str, sweep: pd.DataFrame | None) -> bool:
    """Whether the sweep has all its points; a lineage without a merge has no sweep."""
    return not merge or sweep[sweep["method"] == "slerp"]["t"].nunique() == run.lineage.merge.points


def ends_are_parents(run: Run, merge: str, sweep: pd.DataFrame | None) -> bool:
    """Whether each parent's own domains are best predicted at that parent's end of the sweep."""
    if not merge:
        return True
    rows = sweep[sweep["method"] == "slerp"]
    for end, parent in enumerate(run.lineage.models[merge].origins):
        own = rows[rows["domain"].isin(run.lineage.mix(parent)[0])].groupby("t")["accuracy"].mean()
        if own.loc[float(end)] <= own.loc[1.0 - end]:
            return False
    return True
