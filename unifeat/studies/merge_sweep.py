"""What the sweep between two parents says of their merge."""

import numpy as np
import pandas as pd

from unifeat import merging
from unifeat.lineage import published
from unifeat.lineage.run import Run

OURS, PAPER = "this run", "published"
CURVES = ["source", "parent", "t", "kept"]
KEPT = ["merge", "parent", "source", "point", "t", "kept"]


def marks(run: Run, merge: str, sweep: pd.DataFrame | None) -> dict:
    """What Figure 5 marks: the t of this run's merge and the published one, the curves and points of what is kept."""
    if not merge:
        return {}
    return dict(picked=run.merge_t(merge), published_t=run.lineage.models[merge].published_t,
                kept=curves(run, merge, sweep), points=points(run, merge, sweep))


def curves(run: Run, merge: str, sweep: pd.DataFrame | None) -> pd.DataFrame | None:
    """merge_kept.csv: the share of each parent's accuracy on its own domains that SLERP keeps at t; None without a
    merge.

    Columns source ("this run", or "published" where the lineage names such a sweep), parent, t, kept: the mean accuracy
    over the parent's domains, over that at the parent's own end. Runs with other text, tokenizers and sizes have other
    accuracies; what they keep compares.
    """
    if not merge:
        return None
    parents = _parents(run, merge)
    frames = [_kept(one, parents).assign(source=source) for source, one in _sweeps(run, merge, sweep).items()]
    return pd.concat(frames, ignore_index=True)[CURVES]


def points(run: Run, merge: str, sweep: pd.DataFrame | None) -> pd.DataFrame:
    """Where the curves are read: columns source, point, t, parent, kept, by linear interpolation between the t's.

    point: "balanced", where both parents keep the same share (left out where no t does that), or "stated", the
    published t on the published curves.
    """
    rows, parents = [], _parents(run, merge)
    for source, one in _sweeps(run, merge, sweep).items():
        at = dict(balanced=_balanced(one, parents),
                  stated=run.lineage.models[merge].published_t if source == PAPER else None)
        for point, t in at.items():
            if t is not None:
                rows += [dict(source=source, point=point, t=t, parent=parent, kept=np.interp(t, of["t"], of["kept"]))
                         for parent, of in _kept(one, parents).groupby("parent", sort=False)]
    return pd.DataFrame(rows, columns=["source", "point", "t", "parent", "kept"])


def _sweeps(run: Run, merge: str, sweep: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """This run's sweep, if given, and the published one, if the lineage names it."""
    name, found = run.lineage.models[merge].published_sweep, {} if sweep is None else {OURS: sweep}
    return found | ({PAPER: pd.DataFrame(published.rows(name)).assign(method="slerp")} if name else {})


def _parents(run: Run, merge: str) -> dict[str, list[str]]:
    """Own domains of both parents, in the order of t."""
    return {parent: list(run.lineage.mix(parent)[0]) for parent in run.lineage.models[merge].origins}


def _kept(sweep: pd.DataFrame, parents: dict[str, list[str]]) -> pd.DataFrame:
    """Rows parent, t, kept of one sweep."""
    rows = sweep[sweep["method"] == "slerp"].pivot(index="t", columns="domain", values="accuracy").sort_index()
    frames = []
    for (parent, domains), end in zip(parents.items(), (0, -1), strict=True):
        own = rows[domains].mean(axis=1)
        frames.append(pd.DataFrame(dict(parent=parent, t=own.index, kept=own.to_numpy() / own.iloc[end])))
    return pd.concat(frames, ignore_index=True)


def _balanced(sweep: pd.DataFrame, parents: dict[str, list[str]]) -> float | None:
    try:
        return merging.balanced_t(sweep, *parents.values())
    except ValueError:  # the shares do not cross
        return None


def slerp_over_lerp(sweep: pd.DataFrame | None) -> pd.DataFrame:
    """Least and greatest accuracy that SLERP gains on a straight line over all t, per domain."""
    if sweep is None:
        return pd.DataFrame(columns=["min", "max"])
    wide = sweep.pivot_table(index=["domain", "t"], columns="method", values="accuracy")
    return (wide["slerp"] - wide["lerp"]).groupby("domain", sort=False).agg(["min", "max"])


def kept(run: Run, models: pd.DataFrame) -> pd.DataFrame:
    """What each merge keeps of its parents: one row per merge and parent, and below them those of published sweeps.

    Columns merge, parent, source, point, t, kept: accuracy of the merge on the parent's own domains over the parent's
    own (means over domains, held-out text). source and point: "this run", as "made"; "published" as in `points`.
    models: models.csv.
    """
    held = models[models["split"] == "validation"].set_index(["model", "domain"])["accuracy"]
    rows = []
    for merge in run.merges:
        for parent, domains in _parents(run, merge).items():
            ours, theirs = (held.loc[[(one, domain) for domain in domains]].mean() for one in (merge, parent))
            rows.append(dict(merge=merge, parent=parent, source=OURS, point="made", t=run.merge_t(merge),
                             kept=ours / theirs))
    rows += [dict(merge=merge) | row for merge in run.merges
             for row in points(run, merge, None).to_dict("records")]
    return pd.DataFrame(rows, columns=KEPT)


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
