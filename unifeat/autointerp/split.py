"""Explanation scores of token features and of all others: does a high score only say that a feature is one token?"""

import numpy as np
import pandas as pd
from scipy import stats

from unifeat.autointerp import groups
from unifeat.lineage.run import Run
from unifeat.matching import token_features

SCORES = dict(simulation=(-1, 1), detection=(0, 1))  # and between what they lie
COLUMNS = ["group", "kind", "token", "score", "n", "mean", "ci_low", "ci_high"]


def marked(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """`groups.grouped` with the column token: whether the current token decides the feature (`token_features`).

    True where r with the feature's mean given the token reaches the lineage's tau, on text that the mean has not seen;
    of neurons and of the random model's SAE too.
    """
    token = pd.Series(False, index=frame.index)
    for (model, seed), rows in frame.groupby(["model", "seed"], sort=False):
        token[rows.index] = _decided(run, model, seed)[rows["feature"].to_numpy(int)]
    return frame.assign(token=token)


def _decided(run: Run, name: str, seed: int) -> np.ndarray:
    """Which latents of an SAE, or of a control as in `groups.lexical`, are token features: (width,)."""
    if name in run.lineage.names:
        out = np.zeros(run.features(name, seed).shape[1], bool)
        out[run.live(name, seed)] = ~run.subsets(name, seed)["beyond_token"]
        return out
    text = run.comparison_text
    r = token_features.token_r(groups.activations(run, name), text["token"],
                               token_features.halves(text["document"], text["domain"]))
    return r >= run.lineage.comparison.tau


def split(frame: pd.DataFrame) -> pd.DataFrame:
    """explanations_split.csv: per group, token or not, and score: how many features have it, and their mean.

    frame: `marked`. ci_low, ci_high: Student's 95 % interval of a mean of n features, kept within what the score
    can be; NaN for fewer than two.
    """
    rows = []
    for (group, kind), part in frame.groupby(["group", "kind"], sort=False):
        for token in (True, False):
            for score, bounds in SCORES.items():
                values = part.loc[part["token"] == token, score].dropna().to_numpy(float)
                rows.append((group, kind, token, score, len(values), *np.clip(mean(values), *bounds)))
    return pd.DataFrame(rows, columns=COLUMNS)


def mean(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval: mean -+ t s / sqrt(n), Student's t of n - 1 degrees of freedom.

    >>> [round(value, 3) for value in mean(np.array([1.0, 2.0, 3.0]))]
    [2.0, -0.484, 4.484]
    """
    n = len(values)
    if n < 2:
        return (float(values[0]) if n else np.nan), np.nan, np.nan
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return tuple(float(values.mean() + way * half) for way in (0, -1, 1))


def answer(frame: pd.DataFrame) -> str:
    """One sentence on the first group of `split`: both means, and whether the score hangs on the token.

    It does where the intervals of the two means have no point in common.
    """
    rows = frame[(frame["group"] == frame["group"].iloc[0])].set_index(["score", "token"])
    parts = []
    for score in SCORES:
        token, other = rows.loc[(score, True)], rows.loc[(score, False)]
        if pd.isna([token["ci_low"], other["ci_low"]]).any():
            parts.append(f"{score}: too few features have a score to compare them")
            continue
        verdict = ("token features score higher" if token["ci_low"] > other["ci_high"] else
                   "token features score lower" if token["ci_high"] < other["ci_low"] else "no difference can be told")
        parts.append(f"{score}: {verdict}, {_mean(token)} against {_mean(other)} of the others")
    n, every = (rows.loc[("simulation", token), "n"] for token in (True, False))
    return (f"{rows['group'].iloc[0]}: the current token decides {n:,} of {n + every:,} scored; {'; '.join(parts)} "
            "(mean scores with 95 % intervals).")


def _mean(row) -> str:
    return f"{row['mean']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
