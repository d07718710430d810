"""Which features a merge keeps, method by method, on the same parents (notebook 14)."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from unifeat.lineage.run import Run
from unifeat.lineage.settings import Member, Merging
from unifeat.studies import baselines, dose, merge_search, persistence, variants
from unifeat.support import parallel

POINTS = (0.25, 0.5, 0.75)  # t of the SLERP merges
COLUMNS = ["merge", "method", "parent", "kept", "loss_own", "weight_distance", *dose.SHARE, "null_untrained"]
LOST = ["merge", "method", "seed_a", "seed_b", "shared", "lost", "lost_low", "lost_high", "lost_floor", "novel",
        "novel_low", "novel_high", "novel_floor"]
LOSSES = ["merge", "method", "domain", "loss_nats", "accuracy"]
PREDICTORS = {"features": "observed", "beyond": "beyond_both", "distance": "weight_distance"}
RESAMPLES = 2_000


def members(run: Run) -> dict[str, Member]:
    """The merges of the children of `merge_search.family`, by name."""
    root, a, b = merge_search.family(run)
    four = (root, a, b, "slerp_50")
    made = {f"slerp_{100 * t:.0f}": Member(merge=(a, b), t=t) for t in POINTS}
    made |= {method: Member(merge=(a, b), method=method) for method in
             ("linear", "task_arithmetic", "ties", "dare", "fisher", "regmean")}
    made["linear_3"] = Member(merge=(root, a, b), method="linear")
    made |= {f"evolver_{rule}": Member(merge=four, method="evolver", options=Merging(
        rule=rule, tokens=run.lineage.studies.search_tokens,
        generations=run.lineage.studies.search_budget // 4 - 1)) for rule in ("paper", "code")}
    return {name: replace(one, label=name.replace("_", " ")) for name, one in made.items()}


def merged(run: Run) -> Run | None:
    """The run with all `members`, and with two SAEs a model of the length of the controls'; None without a family."""
    return variants.pair(variants.with_models(run, **members(run))) if merge_search.family(run) else None


def prepare(run: Run) -> None:
    """Make all models, SAEs and comparisons ready, several at a time."""
    one = merged(run)
    if one is None:
        return
    _, a, b = merge_search.family(run)
    names = [a, b, *members(run)]
    one.train_models()
    parallel.side_by_side(one.sae_stage, names, one.lineage.sae.tokens * len(names), "SAEs of the merges")
    baselines.random_saes(one)
    looks = [(Run.look_stage, name) for name in names]
    twins = [(Run.compare, (name, s), (name, t)) for name in names
             for s, t in itertools.combinations(one.lineage.sae.seeds, 2)]
    edges = [(a, b), *((parent, name) for name in members(run) for parent in (a, b))]
    pairs = [(Run.compare, (parent, s), (child, t)) for parent, child in edges
             for s, t in persistence.seed_pairs(one, "controlled")]
    random = [(baselines.random, (name, persistence.seed_pairs(one, "controlled")[0][1])) for name in names]
    persistence.ready(one, looks + twins + pairs + random, "matching of the merges")


def kept(run: Run) -> pd.DataFrame:
    """merge_features.csv: per merge and parent, what the merge keeps of its features and of its accuracy.

    kept: share of the parent's accuracy (next token, held-out text) that the merge has on the parent's own domains;
    loss_own: its loss there (nats per token); weight_distance: |merge - parent| / |parent|; shares as in
    persistence.csv, one-to-one at the lineage's tau; intervals are over documents.
    """
    one, rows = merged(run), []
    if one is None:
        return pd.DataFrame(columns=COLUMNS)
    for name, parent in itertools.product(members(run), merge_search.family(run)[1:]):
        own = list(one.lineage.mix(parent)[0])
        mine, theirs = (_held(one, which).loc[own].mean() for which in (name, parent))
        head = dict(merge=name, method=one.lineage.models[name].method, parent=parent,
                    kept=mine["accuracy"] / theirs["accuracy"], loss_own=mine["loss_nats"],
                    weight_distance=dose.moved(one, parent, one, name)["weight_distance"])
        rows += [head | row for row in dose.share_rows_with_untrained(one, parent, name)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _held(run: Run, name: str) -> pd.DataFrame:
    return run.losses(name).query("split == 'validation'").set_index("domain")[["loss_nats", "accuracy"]]


def losses(run: Run) -> pd.DataFrame:
    """merge_losses.csv: held-out loss (nats per token) and accuracy of root, parents and every merge, by domain."""
    one = merged(run)
    if one is None:
        return pd.DataFrame(columns=LOSSES)
    names = (*merge_search.family(run), *members(run))
    frame = one.losses(*names).query("split == 'validation'").rename(columns=dict(model="merge"))
    method = {name: one.lineage.models[name].method if name in members(run) else "parent" for name in names}
    return frame.assign(method=frame["merge"].map(method))[LOSSES].reset_index(drop=True)


def lost(run: Run) -> pd.DataFrame:
    """merge_lost.csv: per merge and pair of SAE seeds of the parents a and b, of the features that a and b share.

    shared: features of a with a one-to-one partner in b, at tau; lost: the share of these without a partner in the
    merge (its SAE has b's seed); lost_floor: without a partner in a's own twin; novel: the share of the merge's live
    features without a partner in a or in b; novel_floor: without one in the merge's twin. Intervals resample features.
    """
    one, rows = merged(run), []
    if one is None:
        return pd.DataFrame(columns=LOST)
    _, a, b = merge_search.family(run)
    tau = one.lineage.comparison.tau
    for name, (s, t) in itertools.product(members(run), persistence.seed_pairs(one, "controlled")):
        shared = one.compare((a, s), (b, t)).kept(dose.RULE, tau)[0]
        in_merge, from_a = one.compare((a, s), (name, t)).kept(dose.RULE, tau)
        from_b = one.compare((b, s), (name, t)).kept(dose.RULE, tau)[1]
        low, gone, high = drawn(~in_merge[shared])
        few, new, many = drawn(~(from_a | from_b))
        rows.append(dict(merge=name, method=one.lineage.models[name].method, seed_a=s, seed_b=t,
                         shared=int(shared.sum()), lost=gone, lost_low=low, lost_high=high,
                         lost_floor=1 - one.found_again(a, s)[shared].mean(), novel=new, novel_low=few,
                         novel_high=many, novel_floor=1 - one.found_again(name, t).mean()))
    return pd.DataFrame(rows, columns=LOST)


def worst(frame: pd.DataFrame) -> str:
    """The merge that lost most of what its parents share, mean over pairs of seeds; frame: as from `lost`."""
    return frame.groupby("merge", sort=False)["lost"].mean().idxmax()


def shown(run: Run, name: str) -> Run:
    """The run of root, parents and the merge `name` alone, for the explorer."""
    one = merged(run)
    few = {*merge_search.family(run), name, *one.lineage.models[name].merge}
    models = {model: look for model, look in one.lineage.models.items() if model in few}
    return replace(one, lineage=replace(one.lineage, models=models, compare=(), published=None), seconds={})


def lost_features(run: Run, name: str, count: int = 12) -> pd.DataFrame:
    """Features of the first parent that the other shares, that its own twin finds again, and that the merge `name` has
    lost: latent, r with b's partner, with the twin's, with the merge's best; the surest losses first."""
    one = merged(run)
    (_, a, b), (s, t) = merge_search.family(run), persistence.seed_pairs(one, "controlled")[0]
    other, twin, made = one.compare((a, s), (b, t)), one.twins(a)[0], one.compare((a, s), (name, t))
    again = twin.table["r_of_a"] if twin.a[1] == s else twin.table["r_of_b"]
    sure = other.kept(dose.RULE, one.lineage.comparison.tau)[0] & one.found_again(a, s)
    frame = pd.DataFrame(dict(latent=one.live(a, s), r_other_parent=other.table["r_of_a"], r_twin=again,
                              r_merge=made.table["r_of_a"]))
    return frame[sure].sort_values("r_merge", kind="stable").head(count).reset_index(drop=True)


def drawn(which: np.ndarray) -> tuple[float, float, float]:
    """Low end, share and high end of a 95 % interval of a share, over resampled features (the binomial's percentiles).

    >>> drawn(np.array([True, False] * 50))
    (0.4, 0.5, 0.6)
    """
    n = len(which)
    if not n:
        return (np.nan,) * 3
    low, high = stats.binom(n, which.mean()).ppf([0.025, 0.975]) / n
    return float(low), float(which.mean()), float(high)


def prediction(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How well features kept, and weight distance, order the merges by the accuracy they keep.

    Spearman's rho with `kept` over all (merge, parent) of: the observed share (both sides) of all features, that beyond
    token and neuron, and minus the weight distance. 95 % intervals resample merges, both parents of one together; rows
    "features - distance" and "beyond - distance" are differences on the same draws.
    """
    both = frame[frame["side"] == "both"]
    wide = both[both["features"] == "all"].merge(
        both.loc[both["features"] == "beyond_both", ["merge", "parent", "observed"]].rename(
            columns=dict(observed="beyond_both")), on=["merge", "parent"])
    wide["weight_distance"] *= -1

    def rhos(rows):
        found = {name: stats.spearmanr(rows[column], rows["kept"])[0] for name, column in PREDICTORS.items()}
        return found | {f"{name} - distance": found[name] - found["distance"] for name in ("features", "beyond")}

    names, rng = wide["merge"].unique(), np.random.default_rng(seed)
    parts = {name: part for name, part in wide.groupby("merge")}
    draws = pd.DataFrame([rhos(pd.concat([parts[name] for name in rng.choice(names, len(names))]))
                          for _ in range(RESAMPLES)])
    value = rhos(wide)
    return pd.DataFrame([dict(predictor=name, rho=value[name], rho_low=draws[name].quantile(0.025),
                              rho_high=draws[name].quantile(0.975)) for name in value])
