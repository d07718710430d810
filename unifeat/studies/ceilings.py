"""How far two SAEs of one model agree: the ceiling of every model, of live features and of all latents."""

import dataclasses

import numpy as np
import pandas as pd

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.matching.comparison import Comparison
from unifeat.studies import baselines, persistence, shares
from unifeat.studies.shares import Evidence

RULE = "one_to_one"
FEATURES = shares.FEATURES[:-1]  # "found_again" would be its own ceiling
COLUMNS = ["model", "features", "tau", "width", "live", "counted", "ceiling", "ceiling_low", "ceiling_high",
           "of_latents", "of_latents_low", "of_latents_high", "null_untrained"]


def ceilings(run: Run) -> pd.DataFrame:
    """ceilings.csv: per model and set of features, the share that a seed twin finds again one-to-one at tau.

    live: live features, mean over seeds; counted: those of the set. ceiling: share of `counted` with a partner, mean
    over twins and over both sides of each; of_latents: the same features as a share of all `width` latents. (A recipe
    under which latents fall silent raises the first, and leaves the second as it is.) null_untrained: share of
    `counted` that the SAE of an untrained model has too. Intervals (95 %) are over documents and SAE seeds.
    """
    rows = [_row(run, name, run.twins(name), features) for name in run.lineage.names for features in FEATURES]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(run: Run, name: str, twins: list[Comparison], features: str) -> dict:
    seeds, p = run.lineage.sae.seeds, run.lineage
    counted = {seed: _mask(run, name, seed, features).sum() for seed in seeds}
    untrained = shares.values(baselines.random(run, (name, persistence.seed_pairs(run, "controlled")[0][1])),
                              "observed", RULE, "child", features)
    every = [dataclasses.replace(one, table=_of_width(one, counted, p.sae.width, features)) for one in twins]
    (own, whole) = (shares.at(shares.ceiling(Evidence(some, dict(child=some)), RULE, "child", features),
                              p.comparison.tau) for some in (twins, every))
    return dict(model=name, features=features, tau=p.comparison.tau, width=p.sae.width,
                live=np.mean([len(run.live(name, seed)) for seed in seeds]), counted=np.mean([*counted.values()]),
                null_untrained=float(untrained[shares.number(p.comparison.tau)]), **own,
                **{key.replace("ceiling", "of_latents"): value for key, value in whole.items()})


def _mask(run: Run, name: str, seed: int, features: str) -> np.ndarray:
    """Which live features of an SAE are in the set."""
    return np.ones(len(run.live(name, seed)), bool) if features == "all" else run.subsets(name, seed)[features]


def _of_width(one: Comparison, counted: dict[int, int], width: int, features: str) -> dict:
    """Shares of a comparison as shares of all latents: times the number of features that they are of, over `width`.

    A set without features has none that is found again: its share is 0.
    """
    behind = "" if features == "all" else f".{features}"
    return {f"{label}.{RULE}.{side}{behind}": np.nan_to_num(shares.values(one.table, label, RULE, side, features))
            * counted[seed] / width
            for label in ("observed", "resampled")
            for side, (_, seed) in zip(matching.SIDES, (one.a, one.b), strict=True)}
