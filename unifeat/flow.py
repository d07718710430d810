"""Persistence, flow and the ladder: what the matches of a run add up to, beside ceilings and nulls."""

import itertools

import numpy as np
import pandas as pd
import torch

from unifeat import intervals, limits, matching, rungs, threads
from unifeat.comparison import Comparison
from unifeat.profiles import MODELS
from unifeat.stages import Run

EDGES = (("base", "lua"), ("base", "stories"), ("lua", "merged"), ("stories", "merged"), ("base", "merged"))
ARMS = ("controlled", "as_published")
HELD = 5  # arrays of features x features that a comparison holds at most, its features' activations counted in


def workers(width: int) -> int:
    """Comparisons of SAEs of `width` latents made at once: no more than there are cores, and that fit the memory."""
    return max(1, min(torch.get_num_threads(), int(0.9 * limits.memory() / (HELD * 8 * width**2))))


def seed_pairs(run: Run, arm: str) -> list[tuple[int, int]]:
    """Seeds of parent and child that are compared: different ones (controlled), the same (as_published)."""
    seeds = run.profile.sae.seeds
    return [(a, b) for a in seeds for b in seeds if (a == b) == (arm == "as_published")]


def twins(run: Run, name: str) -> list[Comparison]:
    """Comparisons of each two SAEs of one model: what the ceiling is made of."""
    return [run.compare(*pair) for pair in _twins(run, name)]


def _twins(run: Run, name: str) -> list[tuple]:
    return list(itertools.combinations([(name, seed) for seed in run.profile.sae.seeds], 2))


def ceiling(same: list[dict], rule: str) -> np.ndarray:
    """Share of a model's live features found again by its other SAEs, over matching.TAUS; same: tables of its twins."""
    return np.mean([one[f"observed.{rule}.{side}"] for one in same for side in ("parent", "child")], axis=0)


def prepare(run: Run, *more: tuple) -> None:
    """Make all that the shares and the ladder are made of ready, and the calls `more`, several pieces at a time."""
    a, b = seed_pairs(run, "controlled")[0]

    def untrained(bar):  # takes longest, so it comes first
        rungs.random_saes(run, bar)
        for name in MODELS:
            rungs.random(run, (name, b))

    lower = [*((rungs.rotated, (parent, a), (child, b)) for parent, child in EDGES[:4]),
             *((rungs.neurons, parent, child) for parent, child in EDGES[:4])]
    ready(run, [*_shares(run), *more, *lower], "matching, and SAE of an untrained model", untrained,
          run.profile.sae.tokens)


def _shares(run: Run) -> list[tuple]:
    """The comparisons that shares and their ceilings need, as calls."""
    seeds = run.profile.sae.seeds
    return [(Run.compare, (parent, i), (child, j)) for parent, child in EDGES for i in seeds for j in seeds] + [
            (Run.compare, *pair) for name in MODELS for pair in _twins(run, name)]


def ready(run: Run, calls: list[tuple], description: str, first=None, tokens: int = 0) -> None:
    """Make `calls`, (function, its arguments after the run), several at a time, so that the store holds their results.

    Each is taken to read the probe once. first: a call of its own, first(bar), that begins before them and tells the
    bar of its `tokens` itself.
    """
    each = len(run.probe["block"])

    def work(call, bar):
        if call is first:
            first(bar)
        else:
            call[0](run, *call[1:])
            bar.update(each)

    threads.side_by_side(work, [first, *calls] if first else calls, tokens + each * len(calls), description,
                         workers(run.profile.sae.width))


def persistence(run: Run) -> pd.DataFrame:
    """persistence.csv: every edge, arm, side, rule and threshold, with interval, ceiling, null and excess."""
    ready(run, _shares(run), "matching")
    frames = []
    for arm, (parent, child) in [(arm, edge) for arm in ARMS for edge in EDGES]:
        pairs = [run.compare((parent, a), (child, b)) for a, b in seed_pairs(run, arm)]
        for side, owner in (("parent", parent), ("child", child)):
            for rule in matching.RULES:
                def mean(label, key=f"{rule}.{side}", pairs=pairs):
                    return np.mean([one.table[f"{label}.{key}"] for one in pairs], axis=0)

                observed, null = mean("observed"), mean("null")
                bound = ceiling([one.table for one in twins(run, owner)], rule)
                low, high = intervals.interval(mean("resampled"), observed)
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
    tables = {edge: [run.compare((edge[0], i), (edge[1], j)).table for i, j in seeds] for edge in EDGES}
    for parent, child in EDGES:
        yield "edges, independent SAEs", f"{parent} → {child}", tables[parent, child], "r"
    for name in MODELS:
        yield "seed ceiling: two SAEs of one model", name, [one.table for one in twins(run, name)], "r"
    for parent, child in EDGES[:4]:
        yield "raw MLP neurons, no SAE", f"neurons: {parent} → {child}", [rungs.neurons(run, parent, child)], "r"
    for name in MODELS:
        yield "SAE of an untrained model", f"untrained → {name}", [rungs.random(run, (name, b))], "r"
    for parent, child in EDGES[:4]:
        yield ("null: activations rotated", f"{parent} → {child}, rotated",
               [rungs.rotated(run, (parent, a), (child, b))], "r")
    for parent, child in EDGES[:4]:
        yield "null: tokens permuted", f"{parent} → {child}, permuted", tables[parent, child][:1], "null"


def ladder_table(run: Run, tau: float | None = None) -> pd.DataFrame:
    """ladder.csv: per rung and rule the quantiles of r, and the share of the child's features with r >= tau.

    Edges have their ceiling (mean over the two SAEs' pairs of the child), both nulls and the excess over the
    permuted null, with 95 % intervals over documents; a ceiling's own row says what it is made of.
    """
    tau = run.profile.probe.tau if tau is None else tau
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


def share(pairs: list[dict], rule: str, tau: float, label: str = "r", side: str = "child") -> dict:
    """Share of a side's features at r >= tau with its interval, mean over tables of `comparison.compare`."""
    kind, at = ("observed" if label == "r" else "null"), number(tau)
    observed = np.mean([one[f"{kind}.{rule}.{side}"][at] for one in pairs])
    found = resampled(pairs, rule, at, (side,))
    low, high = intervals.interval(found, observed) if label == "r" else (np.nan, np.nan)
    return dict(observed=observed, ci_low=low, ci_high=high)


def bounded(pairs: list[dict], same: list[dict], rule: str, tau: float) -> dict:
    """Ceiling, permuted null and excess of an edge (child's side) with intervals.

    pairs: tables of the edge; same: of the child's seed twins. Both resample the same documents, so that what they
    share cancels in the excess.
    """
    at, key = number(tau), f"{rule}.child"
    top = ceiling(same, rule)[at]
    null, observed = (np.mean([one[f"{kind}.{key}"][at] for one in pairs]) for kind in ("null", "observed"))
    both = resampled(same, rule, at, ("parent", "child"))
    excesses = matching.excess(resampled(pairs, rule, at), both, null)
    ends = [*intervals.interval(both), *intervals.interval(excesses, bounds=(-np.inf, np.inf))]
    names = ("ceiling_low", "ceiling_high", "excess_low", "excess_high")
    return dict(ceiling=top, null=null, excess=float(matching.excess(observed, top, null))
                ) | dict(zip(names, ends, strict=True))


def number(tau: float) -> int:
    """Where `tau` stands in matching.TAUS."""
    return int(np.argmin(np.abs(matching.TAUS - tau)))


def resampled(pairs: list[dict], rule: str, at: int, sides=("child",)) -> np.ndarray:
    """Resampled shares (resamples,) at threshold number `at`, mean over tables of `comparison.compare` and `sides`."""
    return np.mean([one[f"resampled.{rule}.{side}"][:, at] for one in pairs for side in sides], axis=0)


def _turned(run: Run, edge: tuple[str, str], rule: str, tau: float) -> float:
    if edge not in EDGES[:4]:
        return np.nan
    a, b = seed_pairs(run, "controlled")[0]
    return rungs.rotated(run, (edge[0], a), (edge[1], b))[f"observed.{rule}.child"][number(tau)]


def quantiles(ladder: pd.DataFrame) -> pd.DataFrame:
    """What the ladder draws, as numbers: count, mean and quantiles of r per row and rule."""
    found = ladder.groupby(["group", "comparison", "rule"], sort=False)["r"].describe(
        percentiles=[0.1, 0.25, 0.5, 0.75, 0.9])
    return found.drop(columns=["std"]).reset_index()
