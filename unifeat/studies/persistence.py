"""Which features persist along every edge, beside seed ceiling, null and interval."""

import itertools

import numpy as np
import pandas as pd
import torch

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.matching import bootstrap
from unifeat.matching.comparison import Comparison
from unifeat.studies import baselines
from unifeat.support import parallel, resources

COLUMNS = ["arm", "parent", "child", "side", "rule", "tau", "n_parent", "n_child", "observed", "ci_low", "ci_high",
           "ceiling",
           "null", "excess"]
ARMS = ("controlled", "as_published")
HELD = 5  # memory of one comparison, in arrays of features x features (activations included)


def workers(width: int) -> int:
    """How many comparisons of SAEs of `width` latents to run at once: one per core, as far as memory allows."""
    return max(1, min(torch.get_num_threads(), int(0.9 * resources.memory() / (HELD * 8 * width**2))))


def seed_pairs(run: Run, arm: str) -> list[tuple[int, int]]:
    """Seeds of parent and child that are compared: different ones (controlled), the same (as_published)."""
    seeds = run.lineage.sae.seeds
    return [(a, b) for a in seeds for b in seeds if (a == b) == (arm == "as_published")]


def twins(run: Run, name: str) -> list[Comparison]:
    """Comparisons of each two SAEs of one model: what the ceiling is made of."""
    return [run.compare(*pair) for pair in _twins(run, name)]


def _twins(run: Run, name: str) -> list[tuple]:
    return list(itertools.combinations([(name, seed) for seed in run.lineage.sae.seeds], 2))


def ceiling(same: list[dict], rule: str) -> np.ndarray:
    """Share of a model's live features found again by its other SAEs, over matching.TAUS; same: tables of its twins."""
    return np.mean([one[f"observed.{rule}.{side}"] for one in same for side in ("parent", "child")], axis=0)


def prepare(run: Run, *more: tuple) -> None:
    """Compute everything that the shares and the ladder need, and the calls in `more`, several at a time."""
    a, b = seed_pairs(run, "controlled")[0]

    def untrained(bar):  # takes longest, so it comes first
        baselines.random_saes(run, bar)
        for name in run.lineage.names:
            baselines.random(run, (name, b))

    lower = [*((baselines.rotated, (parent, a), (child, b)) for parent, child in run.lineage.edges),
             *((baselines.neurons, parent, child) for parent, child in run.lineage.edges)]
    ready(run, [*_shares(run), *more, *lower], "matching, and SAE of an untrained model", untrained,
          run.lineage.sae.tokens)


def _shares(run: Run) -> list[tuple]:
    """The comparisons that shares and their ceilings need, as calls."""
    seeds = run.lineage.sae.seeds
    return [(Run.compare, (parent, i), (child, j)) for parent, child in run.lineage.pairs for i in seeds
            for j in seeds] + [
            (Run.compare, *pair) for name in run.lineage.names for pair in _twins(run, name)]


def ready(run: Run, calls: list[tuple], description: str, first=None, tokens: int = 0) -> None:
    """Run `calls`, each (function, arguments after the run), several at a time; the store then holds their results.

    The bar counts each call as one pass over the comparison text. first(bar) is started before all others and advances
    the bar by its `tokens` itself.
    """
    each = len(run.comparison_text["block"])

    def work(call, bar):
        if call is first:
            first(bar)
        else:
            call[0](run, *call[1:])
            bar.update(each)

    parallel.side_by_side(work, [first, *calls] if first else calls, tokens + each * len(calls), description,
                         workers(run.lineage.sae.width))


def persistence(run: Run) -> pd.DataFrame:
    """persistence.csv: every edge, arm, side, rule and threshold, with interval, ceiling, null and excess."""
    ready(run, _shares(run), "matching")
    frames = []
    for arm, (parent, child) in [(arm, edge) for arm in ARMS for edge in run.lineage.pairs]:
        pairs = [run.compare((parent, a), (child, b)) for a, b in seed_pairs(run, arm)]
        for side, owner in (("parent", parent), ("child", child)):
            for rule in matching.RULES:
                def mean(label, key=f"{rule}.{side}", pairs=pairs):
                    return np.mean([one.table[f"{label}.{key}"] for one in pairs], axis=0)

                observed, null = mean("observed"), mean("null")
                bound = ceiling([one.table for one in twins(run, owner)], rule)
                low, high = bootstrap.interval(mean("resampled"), observed)
                frames.append(pd.DataFrame(dict(
                    arm=arm, parent=parent, child=child, side=side, rule=rule, tau=matching.TAUS,
                    n_parent=np.mean([len(one.live_a) for one in pairs]),
                    n_child=np.mean([len(one.live_b) for one in pairs]), observed=observed, ci_low=low,
                    ci_high=high, ceiling=bound, null=null,
                    excess=matching.excess(observed, bound, null))))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def share(pairs: list[dict], rule: str, tau: float, label: str = "r", side: str = "child") -> dict:
    """Share of a side's features at r >= tau with its interval, mean over tables of `comparison.compare`."""
    kind, at = ("observed" if label == "r" else "null"), number(tau)
    observed = np.mean([one[f"{kind}.{rule}.{side}"][at] for one in pairs])
    found = resampled(pairs, rule, at, (side,))
    low, high = bootstrap.interval(found, observed) if label == "r" else (np.nan, np.nan)
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
    ends = [*bootstrap.interval(both), *bootstrap.interval(excesses, bounds=(-np.inf, np.inf))]
    names = ("ceiling_low", "ceiling_high", "excess_low", "excess_high")
    return dict(ceiling=top, null=null, excess=float(matching.excess(observed, top, null))
                ) | dict(zip(names, ends, strict=True))


def number(tau: float) -> int:
    """Where `tau` stands in matching.TAUS."""
    return int(np.argmin(np.abs(matching.TAUS - tau)))


def resampled(pairs: list[dict], rule: str, at: int, sides=("child",)) -> np.ndarray:
    """Resampled shares (resamples,) at threshold number `at`, mean over tables of `comparison.compare` and `sides`."""
    return np.mean([one[f"resampled.{rule}.{side}"][:, at] for one in pairs for side in sides], axis=0)
