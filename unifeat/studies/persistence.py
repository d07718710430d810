"""Which features persist along every edge, beside seed ceiling, null and interval."""

import itertools

import numpy as np
import pandas as pd
import torch

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.studies import baselines, shares
from unifeat.studies.shares import FEATURES, SIDES, Evidence
from unifeat.support import parallel, resources

COLUMNS = ["arm", "parent", "child", "side", "rule", "tau", "n_parent", "n_child", "observed", "ci_low", "ci_high",
           "ceiling", "null", "excess", "features", "ceiling_low", "ceiling_high", "excess_low", "excess_high",
           "null_untrained"]
ARMS = ("controlled", "as_published")
HELD = 5  # memory of one comparison, in arrays of features x features (activations included)


def workers(width: int) -> int:
    """How many comparisons of SAEs of `width` latents to run at once: one per core, as far as memory allows."""
    return max(1, min(torch.get_num_threads(), int(0.9 * resources.memory() / (HELD * 8 * width**2))))


def seed_pairs(run: Run, arm: str) -> list[tuple[int, int]]:
    """Seeds of parent and child that are compared: different ones (controlled), the same (as_published)."""
    seeds = run.lineage.sae.seeds
    return [(a, b) for a in seeds for b in seeds if (a == b) == (arm == "as_published")]


def evidence(run: Run, parent: str, child: str, arm: str = "controlled") -> Evidence:
    """All comparisons behind the shares of a pair of models; `run` has the SAEs of that arm."""
    pairs = [run.compare((parent, a), (child, b)) for a, b in seed_pairs(run, arm)]
    return Evidence(pairs, dict(parent=run.twins(parent), child=run.twins(child)))


def arms(run: Run) -> dict[str, Run]:
    """The run with the SAEs of each arm: controlled (its own) and, where the lineage has them, as_published."""
    return {name: one for name, one in zip(ARMS, (run, run.published), strict=True) if one is not None}


def prepare(run: Run, *more: tuple) -> None:
    """Compute everything that the shares and the ladder need, and the calls in `more`, several at a time."""
    a, b = seed_pairs(run, "controlled")[0]

    def longest(bar):  # so it comes first
        baselines.random_saes(run, bar)
        for name in run.lineage.names:
            baselines.random(run, (name, b))

    lower = [call for parent, child in run.lineage.edges for call in
             ((baselines.rotated, (parent, a), (child, b)), (baselines.permuted, (parent, a), (child, b)),
              (baselines.neurons, parent, child))]
    others = [(within, run.published, *call) for call in (comparisons(run.published) if run.published else [])]
    ready(run, [*comparisons(run), *others, *more, *lower], "matching, and SAE of an untrained model", longest,
          run.lineage.sae.tokens)


def within(_, other: Run, call, *arguments) -> None:
    """call(other, *arguments): a call for `ready` that is of another run."""
    call(other, *arguments)


def comparisons(run: Run) -> list[tuple]:
    """The comparisons of an arm's SAEs that shares and ceilings need, as calls; first what all comparisons of a model
    would wait for, then twins, which the rest needs."""
    return [*((Run.look_stage, name) for name in run.lineage.names)] + [
            (Run.compare, (name, a), (name, b)) for name in run.lineage.names
            for a, b in itertools.combinations(run.lineage.sae.seeds, 2)] + [
            (Run.compare, (parent, a), (child, b)) for parent, child in run.lineage.pairs
            for a, b in seed_pairs(run, run.arm)]


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
    """persistence.csv: every pair of models, arm, side, rule and threshold, with interval, ceiling, null and excess.

    One-to-one rows of the arm controlled also stand for the subsets of features in `shares.FEATURES`.
    """
    frames = []
    for arm, one in arms(run).items():
        ready(one, comparisons(one), f"matching, {arm}")
        for parent, child in one.lineage.pairs:
            found = evidence(one, parent, child, arm)
            for side in SIDES:
                for rule in matching.RULES:
                    more = arm == ARMS[0] and rule == "one_to_one"
                    frames += [_rows(one, found, (parent, child), arm, side, rule, features)
                               for features in (FEATURES if more else FEATURES[:1])]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def _rows(run: Run, found: Evidence, edge, arm, side, rule, features) -> pd.DataFrame:
    frame = pd.DataFrame(dict(
        arm=arm, parent=edge[0], child=edge[1], side=side, rule=rule, tau=matching.TAUS,
        n_parent=np.mean([len(one.live_a) for one in found.pairs]),
        n_child=np.mean([len(one.live_b) for one in found.pairs]), features=features,
        null_untrained=untrained(run, edge, side, rule, features) if arm == ARMS[0] else np.nan)
        | shares.measured(found, rule, side, features))
    return frame[COLUMNS]


def untrained(run: Run, edge: tuple[str, str], side: str, rule: str, features: str = "all") -> np.ndarray:
    """The share of a side's features that the SAE of an untrained model has, over matching.TAUS: the hard null."""
    seed = seed_pairs(run, ARMS[0])[0][1]
    both = {end: shares.values(baselines.random(run, (name, seed)), "observed", rule, "child", features)
            for end, name in zip(matching.SIDES, edge, strict=True)}
    return np.sqrt(both["parent"] * both["child"]) if side == "both" else both[side]
