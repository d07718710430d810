"""Which share of a child's features persists by what it does: estimates from the pairs that `substitution` drew."""

import numpy as np
import pandas as pd

from unifeat.matching import bootstrap
from unifeat.studies.substitution import ARROW, RECOVERED

VERDICTS = ("activation", "function", "joint")
COLUMNS = ["edge", "verdict", "pairs", "observed", "ci_low", "ci_high", "ceiling", "ceiling_low", "ceiling_high",
           "null", "next_best"]


def summary(frame: pd.DataFrame, tau: float, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """functional.csv: share of the child's live features that persist, by each verdict, on every edge.

    frame: `substitution.table`. verdict: activation (a one-to-one partner at r >= tau, the tau of the draw), function
    (the partner is `functional`), or joint (both). Features without a partner do not persist. ceiling: the same
    between two SAEs of the child's model, mean over both ways. null: a stranger in the partner's place that recovers
    RECOVERED; next_best: the same of the parent's best other feature.

    Intervals (95 %): the child's features are drawn with replacement, which moves the sizes of the strata (r >= tau,
    less, no partner), and within a stratum its drawn pairs. Where these are all alike, the stratum adds no width.
    Neither text, nor SAE seeds, nor language models are drawn.
    """
    rng, rows = np.random.default_rng(seed), []
    found = {key: _shares(part, tau, resamples, rng)
             for key, part in frame.groupby(["edge", "kind", "seed"], sort=False)}
    for edge in frame.loc[frame["kind"] == "edge", "edge"].unique():
        child = edge.split(ARROW)[1]
        own, twins = (np.mean([value for key, value in found.items() if key[:2] == wanted] or [np.nan], axis=0)
                      for wanted in ((edge, "edge"), (f"{child}{ARROW}{child}", "twins")))
        twins = np.broadcast_to(twins, own.shape)
        for k, verdict in enumerate(VERDICTS):
            ends = [*bootstrap.interval(own[1:, k], own[0, k]), *bootstrap.interval(twins[1:, k], twins[0, k])]
            rows.append(dict(edge=edge, verdict=verdict, pairs=(frame["edge"] == edge).sum(), observed=own[0, k],
                             ceiling=twins[0, k], null=own[0, k + 3], next_best=own[0, k + 6])
                        | dict(zip(("ci_low", "ci_high", "ceiling_low", "ceiling_high"), ends, strict=True)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _shares(part: pd.DataFrame, tau: float, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Shares (1 + resamples, 9), first as observed: VERDICTS of partners, of strangers, and of the next best."""
    high, live = (part["r"] >= tau).to_numpy(), part["live"].iloc[0]
    columns = []
    for does in (part["functional"], part["recovered_random"] >= RECOVERED, part["recovered_next_best"] >= RECOVERED):
        does = does.to_numpy(bool)
        columns += [high if not columns else np.full(len(high), np.nan), does, high & does]
    y, strata = np.stack(columns, 1).astype(float), [side for side in (high, ~high) if side.any()]
    sizes = np.array([part["weight"][side].sum().round() for side in strata])
    counts = rng.multinomial(live, [*(sizes / live), max(0.0, 1 - sizes.sum() / live)], resamples)
    total = np.zeros((1 + resamples, y.shape[1]))
    for side, size, count in zip(strata, sizes, counts.T, strict=False):
        n = side.sum()
        drawn = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), resamples)])
        total += np.append(size, count)[:, None] * (drawn @ y[side]) / n
    return total / live
