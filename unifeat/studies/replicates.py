"""The whole lineage trained from other seeds: what of a share is the language model's (notebook 21)."""

import itertools

import numpy as np
import pandas as pd
from scipy import stats

from unifeat.lineage.run import Run
from unifeat.studies import dose, persistence, variants
from unifeat.support import parallel

COLUMNS = ["model_seed", "parent", "child", *dose.SHARE]
NUMBERS = {"observed": ("ci_low", "ci_high"), "ceiling": ("ceiling_low", "ceiling_high"),
           "excess": ("excess_low", "excess_high")}


def runs(run: Run) -> list[Run]:
    """The run, and the run with all models from other seeds, studies.replicates in all; two SAEs a model."""
    return [variants.pair(variants.replicate(run, number)) for number in range(run.lineage.studies.replicates)]


def prepare(run: Run) -> None:
    """Make all models, SAEs and comparisons ready, several at a time."""
    for layer in run.lineage.layers:
        jobs = [(one, name) for one in runs(run) for name in layer]
        parallel.side_by_side(lambda job, bar: job[0].model_stage(job[1], bar), jobs,
                              sum(one.lineage.models[name].training.tokens for one, name in jobs
                                  if one.lineage.models[name].training), f"{', '.join(layer)} from other seeds")
    jobs = [(one, name) for one in runs(run) for name in run.lineage.names]
    parallel.side_by_side(lambda job, bar: job[0].sae_stage(job[1], bar), jobs,
                          sum(one.lineage.sae.tokens for one, _ in jobs), "SAEs of other language models")
    looks, twins, pairs = [], [], []
    for one in runs(run):
        looks += [(persistence.within, one, Run.look_stage, name) for name in run.lineage.names]
        twins += [(persistence.within, one, Run.compare, (name, a), (name, b)) for name in run.lineage.names
                  for a, b in itertools.combinations(one.lineage.sae.seeds, 2)]
        pairs += [(persistence.within, one, Run.compare, (parent, a), (child, b)) for parent, child in run.lineage.edges
                  for a, b in persistence.seed_pairs(one, "controlled")]
    persistence.ready(run, looks + twins + pairs, "matching within each language-model seed")


def replicates(run: Run) -> pd.DataFrame:
    """replicates.csv: the shares of every edge for each language-model seed, and rows `all` over them.

    model_seed: what was added to every model's seeds; intervals are over documents. `all`: means, with intervals over
    language-model seeds (Student's t); they hold the spread of two SAE seeds and of documents too.
    """
    frames = []
    for number, one in enumerate(runs(run)):
        for parent, child in run.lineage.edges:
            found = persistence.evidence(one, parent, child)
            frames += [dict(model_seed=str(number), parent=parent, child=child) | row
                       for row in dose.share_rows(found, run.lineage.comparison.tau)]
    frame = pd.DataFrame(frames, columns=COLUMNS)
    return pd.concat([frame, _over_seeds(frame)], ignore_index=True)


def _over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for key, part in frame.groupby(["parent", "child", "features", "side"], sort=False):
        row = dict(zip(["parent", "child", "features", "side"], key, strict=True), model_seed="all",
                   null=part["null"].mean())
        for name, ends in NUMBERS.items():
            row |= dict(zip((ends[0], name, ends[1]), t_interval(part[name].to_numpy()), strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def t_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Low end, mean and high end of Student's 95 % interval: mean -+ t s / sqrt(n), n - 1 degrees of freedom.

    One value has no interval (NaN).

    >>> [round(end, 3) for end in t_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.484, 2.0, 4.484]
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return np.nan, mean, np.nan
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean - half, mean, mean + half


def answer(frame: pd.DataFrame) -> str:
    """One sentence per edge: what persists over language-model seeds."""
    rows = frame[(frame["model_seed"] == "all") & (frame["side"] == "both") & (frame["features"] == "all")]
    count = frame.loc[frame["model_seed"] != "all", "model_seed"].nunique()
    told = [f"{row['parent']} → {row['child']} {row['observed']:.1%} [{row['ci_low']:.1%}, {row['ci_high']:.1%}] of "
            f"{row['ceiling']:.1%}" for _, row in rows.iterrows()]
    return f"Over {count} seeds of the language models persist, both sides, {', '.join(told)}." if told else ""
