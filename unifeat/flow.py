"""Persistence, flow and the ladder: what the matches of a run add up to, beside ceilings and nulls."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from unifeat import matching
from unifeat.profiles import MODELS
from unifeat.stages import Comparison, Run

EDGES = (("base", "lua"), ("base", "stories"), ("lua", "merged"), ("stories", "merged"), ("base", "merged"))
ARMS = ("controlled", "as_published")


def seed_pairs(run: Run, arm: str) -> list[tuple[int, int]]:
    """Seeds of parent and child that are compared: different ones (controlled), the same (as_published)."""
    seeds = run.profile.sae.seeds
    return [(a, b) for a in seeds for b in seeds if (a == b) == (arm == "as_published")]


def twins(run: Run, name: str) -> list[Comparison]:
    """Comparisons of each two SAEs of one model: what the ceiling is made of."""
    seeds = run.profile.sae.seeds
    return [run.compare((name, a), (name, b)) for i, a in enumerate(seeds) for b in seeds[i + 1:]]


def ceiling(run: Run, name: str, rule: str) -> np.ndarray:
    """Share of a model's live features found again by another SAE of the same model, over matching.TAUS."""
    return np.mean([one.table[f"observed.{rule}.{side}"] for one in twins(run, name)
                    for side in ("parent", "child")], axis=0)


def persistence(run: Run) -> pd.DataFrame:
    """persistence.csv: every edge, arm, side, rule and threshold, with interval, ceiling, null and excess."""
    frames = []
    jobs = [(arm, edge) for arm in ARMS for edge in EDGES]
    for arm, (parent, child) in tqdm(jobs, desc="matching", mininterval=1):
        pairs = [run.compare((parent, a), (child, b)) for a, b in seed_pairs(run, arm)]
        for side, owner in (("parent", parent), ("child", child)):
            for rule in matching.RULES:
                def mean(label, key=f"{rule}.{side}", pairs=pairs):
                    return np.mean([one.table[f"{label}.{key}"] for one in pairs], axis=0)

                observed, null, bound = mean("observed"), mean("null"), ceiling(run, owner, rule)
                low, high = matching.interval(mean("resampled"))
                frames.append(pd.DataFrame(dict(
                    arm=arm, parent=parent, child=child, side=side, rule=rule, tau=matching.TAUS,
                    n_parent=np.mean([len(one.live_a) for one in pairs]),
                    n_child=np.mean([len(one.live_b) for one in pairs]), observed=observed, ci_low=low,
                    ci_high=high, ceiling=bound, null=null,
                    excess=matching.excess(observed, bound, null))))
    return pd.concat(frames, ignore_index=True)


def flow(run: Run, rule: str = "one_to_one", arm: str = "controlled") -> pd.DataFrame:
    """flow.csv: features that persist, emerge and disappear along each edge, and the merge's by origin.

    Counts are means over the seed pairs of `arm`; features of a child are split by which parents they match.
    """
    rows = []
    tau = run.profile.probe.tau
    for a, b in seed_pairs(run, arm):
        kept = {}
        for parent, child in EDGES[:4]:
            one = run.compare((parent, a), (child, b))
            kept[parent, child] = one.kept(rule, tau)
            for kind, side, has in (("persist", 1, True), ("emerge", 1, False), ("disappear", 0, False)):
                mask = kept[parent, child][side] == has
                rows.append((parent, child, kind, mask.sum(), mask.mean()))
        lua, stories = kept["lua", "merged"][1], kept["stories", "merged"][1]
        for origin, mask in (("both", lua & stories), ("lua only", lua & ~stories),
                             ("stories only", stories & ~lua), ("new", ~lua & ~stories)):
            rows.append((origin, "merged", "emerge" if origin == "new" else "persist", mask.sum(), mask.mean()))
        lua, stories = kept["base", "lua"][0], kept["base", "stories"][0]
        for fate, mask in (("both", lua & stories), ("lua only", lua & ~stories),
                           ("stories only", stories & ~lua), ("neither", ~lua & ~stories)):
            rows.append(("base", fate, "disappear" if fate == "neither" else "persist", mask.sum(), mask.mean()))
    frame = pd.DataFrame(rows, columns=["source", "target", "kind", "features", "share"])
    return frame.groupby(["source", "target", "kind"], sort=False, as_index=False).mean()


def ladder(run: Run) -> pd.DataFrame:
    """Best-match r of every live feature of the child: per edge, for seed twins of each model, and permuted."""
    frames = []

    def add(group, comparison, one, label="r_of_b"):
        frames.append(pd.DataFrame(dict(group=group, comparison=comparison, r=one.table[label])))

    for parent, child in EDGES:
        for a, b in seed_pairs(run, "controlled"):
            add("edges, independent SAEs", f"{parent} → {child}", run.compare((parent, a), (child, b)))
    for name in MODELS:
        for one in twins(run, name):
            add("seed ceiling: two SAEs of one model", name, one)
    for parent, child in EDGES[:4]:
        a, b = seed_pairs(run, "controlled")[0]
        add("null: tokens permuted", f"{parent} → {child}", run.compare((parent, a), (child, b)), "null_of_b")
    return pd.concat(frames, ignore_index=True)


def quantiles(ladder: pd.DataFrame) -> pd.DataFrame:
    """What the ladder draws, as numbers: count, mean and quantiles of best-match r per row."""
    found = ladder.groupby(["group", "comparison"], sort=False)["r"].describe(percentiles=[0.1, 0.25, 0.5, 0.75, 0.9])
    return found.drop(columns=["std"]).reset_index()
