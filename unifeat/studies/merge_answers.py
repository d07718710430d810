"""What notebook 14 answers: whether searching for a merge pays, and what features tell of a merge."""

import itertools

import pandas as pd

from unifeat.studies import merge_features, merge_search
from unifeat.studies.replicates import t_interval

TABLES = ("merge_search", "merge_features", "merge_lost")  # that `said` reads


def said(search: pd.DataFrame, features: pd.DataFrame, lost: pd.DataFrame) -> list[str]:
    """All sentences of the notebook, from its TABLES in their order."""
    return [answer(search), answer_features(features), answer_lost(lost)]


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """What Evolver gains, by rule and seed (nats per token, macro): over the best of SIMPLE on development and on test
    text, over CMA-ES and over its own expected mask on test text. Each split takes its own best of SIMPLE.

    frame: as from `searches`.
    """
    wide = frame[frame["domain"] == "macro"].pivot_table(index=["model_seed", "split"], columns="method",
                                                         values="loss_nats")
    rows = []
    for seed, rule in itertools.product(frame["model_seed"].unique(), merge_search.EVOLVERS):
        dev, test = wide.loc[seed, "dev"], wide.loc[seed, "test"]
        rows.append(dict(model_seed=seed, rule=rule, dev=dev[list(merge_search.SIMPLE)].min() - dev[rule],
                         test=test[list(merge_search.SIMPLE)].min() - test[rule], over_cma=test["cma"] - test[rule],
                         over_expected=test[f"{rule}_expected"] - test[rule]))
    return pd.DataFrame(rows)


def answer(frame: pd.DataFrame) -> str:
    """One sentence per rule: what Evolver gains on the best simple model, whether that is the goal's MARGIN in two of
    three seeds with half of it left on test text, and what it gains on searches of the same budget."""
    if frame.empty:
        return ""
    said = []
    for rule, part in gains(frame).groupby("rule", sort=False):
        over, kept = int((part["test"] >= merge_search.MARGIN).sum()), int((part["test"] >= part["dev"] / 2).sum())
        goal = 3 * over >= 2 * len(part) and 3 * kept >= 2 * len(part)
        said.append(
            f"Evolver by the {rule.removeprefix('evolver_')}'s rule gains {_told(part['test'])} nats per token of test "
            f"text on the best of root, children, mean and SLERP at 0.5 ({_told(part['dev'])} of development text); "
            f"{merge_search.MARGIN:g} or more in {over} of {len(part)} seeds, with half of the gain left on test text "
            f"in {kept}, so the goal of two in three is {'met' if goal else 'missed'}. On CMA-ES over the merge's "
            f"weights, at the same number of evaluations, it gains {_told(part['over_cma'])}, on its own mask's "
            f"expectation {_told(part['over_expected'])}.")
    return " ".join(said)


def _told(values: pd.Series) -> str:
    """A mean with Student's 95 % interval over seeds."""
    low, mean, high = t_interval(values.to_numpy())
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]" if len(values) > 1 else f"{mean:+.3f}"


def answer_features(frame: pd.DataFrame) -> str:
    """What the merges keep, and whether features or distance order them better by the accuracy they keep."""
    if frame.empty:
        return ""
    every = frame[(frame["side"] == "both") & (frame["features"] == "all")]
    rho = merge_features.prediction(frame).set_index("predictor")
    told = {name: f"{row['rho']:+.2f} [{row['rho_low']:+.2f}, {row['rho_high']:+.2f}]" for name, row in rho.iterrows()}
    by = rho.loc["features - distance"]
    word = ("better than" if by["rho_low"] > 0 else "worse than" if by["rho_high"] < 0 else
            "no better and no worse, as far as these merges tell, than")
    return (f"{every['merge'].nunique()} merges of the same parents keep {every['kept'].min():.0%} to "
            f"{every['kept'].max():.0%} of a parent's accuracy on its own text and {every['observed'].min():.0%} to "
            f"{every['observed'].max():.0%} of its features (both sides; ceilings {every['ceiling'].min():.0%} to "
            f"{every['ceiling'].max():.0%}, null within the token at most {every['null'].max():.0%}, an untrained "
            f"model at most {every['null_untrained'].max():.0%}). Features kept order the merges by the accuracy they "
            f"keep (Spearman's rho {told['features']}; beyond token and neuron {told['beyond']}) {word} nearness in "
            f"weights ({told['distance']}; difference {told['features - distance']}, intervals over merges).")


def answer_lost(frame: pd.DataFrame) -> str:
    """What the merges lost of the features that both parents share, beside what a second SAE of the parent misses."""
    if frame.empty:
        return ""
    mean = frame.groupby("merge", sort=False)[["lost", "lost_floor", "novel", "novel_floor"]].mean()
    beyond = frame[frame["lost_low"] > frame["lost_floor"]].groupby("merge").size()
    sure = [name for name, count in beyond.items() if count == frame["merge"].value_counts()[name]]
    return (f"Of the features that both parents have, the merges lost {mean['lost'].min():.0%} "
            f"({mean['lost'].idxmin()}) to {mean['lost'].max():.0%} ({mean['lost'].idxmax()}), where a second SAE of "
            f"the parent itself misses {mean['lost_floor'].mean():.0%}; {', '.join(sure) or 'no merge'} lost more than "
            f"that by more than the interval over features, in every pair of SAE seeds. Of the merges' features "
            f"{mean['novel'].min():.0%} to {mean['novel'].max():.0%} are in neither parent, and "
            f"{mean['novel_floor'].min():.0%} to {mean['novel_floor'].max():.0%} not in their own second SAE.")
