"""What notebook 13 answers: the paper's findings here, its own numbers, and the lives of features."""

import numpy as np
import pandas as pd
from scipy import stats

# Sun & Dredze 2024 (arXiv 2408.06663), from the result files that they published with their code: OLMo-1B at these
# steps, mean change of accuracy by fine-tuning; accuracy lost on tasks of the other kind at the end, as a ratio.
OLMO_STEPS = (1_000, 18_000, 342_000, 424_000, 505_000, 592_000, 738_000, 738_020)
OLMO_GAIN = {"learned in fine-tuning": (0.062, 0.149, 0.286, 0.297, 0.304, 0.297, 0.264, 0.290),
             "learned in pre-training": (0.048, 0.048, 0.004, 0.010, 0.030, 0.027, 0.021, -0.005)}
RATIOS = {("OLMo-1B", "classification to generation"): -0.614, ("Llama3-8B", "classification to generation"): -0.610,
          ("OLMo-1B", "generation to classification"): 0.003, ("Llama3-8B", "generation to classification"): 0.106}
TABLES = ("checkpoint_findings", "checkpoint_features", "feature_survival", "feature_cohorts", "feature_drift",
          "feature_gain")  # that `said` reads
GOALS = dict(spearman=-0.8, still=0.25, ratio=3.0)


def findings(frame: pd.DataFrame) -> pd.DataFrame:
    """checkpoint_findings.csv: the paper's four findings here, per language-model seed (and task): value, goal, holds.

    latent_benefit: Spearman's rho of the tuned target loss with the step, for tasks that pre-training did not show,
    beside how much the base's own moves over the last half, as a share of the drop of the tuned one. unseen_gain: mean
    gain at the last step on unseen tasks over that on seen ones. forgetting: the greatest rise of the loss on a domain
    that is not tuned, at the last step, of those whose interval lies above 0; accuracy_ratio: the mean ratio of
    accuracies there, tuned by base, minus 1. format: spread of the tuned target loss over formats at the last step,
    mean over tasks, beside its greatest over steps.
    """
    rows, tuned = [], frame[frame["arm"] == "tuned"]
    for seed, part in tuned.groupby("model_seed"):
        own = part[part["task"] == part["domain"]]
        told_ = own[own["format"] == "training"]
        last = told_["step"].max()
        for task, one in told_[~told_["seen"]].groupby("task", sort=False):
            rho, moves = latent(one.sort_values("step"))
            rows.append(dict(model_seed=seed, finding="latent_benefit", task=task, value=rho, beside=moves,
                             holds=rho <= GOALS["spearman"] and moves < GOALS["still"]))
        at_last = told_[told_["step"] == last].groupby("seen")["gain_nats"].mean()
        new, old = at_last.get(False, np.nan), at_last.get(True, np.nan)
        rows.append(dict(model_seed=seed, finding="unseen_gain", task="all", value=new, beside=old,
                         holds=bool(new >= GOALS["ratio"] * old and new > 0)))
        others = part[(part["step"] == last) & (part["task"] != part["domain"]) & (part["format"] == "none")]
        rise = -others["gain_nats"][others["gain_high"] < 0]
        ratio = (others["tuned_accuracy"] / others["base_accuracy"] - 1).mean()
        rows.append(dict(model_seed=seed, finding="forgetting", task="all", value=rise.max() if len(rise) else 0.0,
                         beside=ratio, holds=bool(len(rise))))
        losses = own.groupby(["step", "task"])["tuned_nats"]
        wide = (losses.max() - losses.min()).groupby("step").mean()
        rows.append(dict(model_seed=seed, finding="format", task="all", value=wide[last], beside=wide.max(),
                         holds=bool(wide[last] < wide.max())))
    return pd.DataFrame(rows, columns=["model_seed", "finding", "task", "value", "beside", "holds"])


def latent(one: pd.DataFrame) -> tuple[float, float]:
    """Spearman's rho of the tuned loss with the step, and how far the base's loss moves over the last half of the
    checkpoints, as a share of the tuned loss's drop; `one` in the order of steps."""
    rho = stats.spearmanr(one["step"], one["tuned_nats"])[0]
    base, after = one["base_nats"].to_numpy(), one["tuned_nats"].to_numpy()
    drop = after[0] - after[-1]
    return float(rho), float(abs(base[len(base) // 2] - base[-1]) / drop) if drop > 0 else np.inf


def said(findings_: pd.DataFrame, *features: pd.DataFrame) -> list[str]:
    """All sentences of the notebook, from its TABLES in their order."""
    return [answer(findings_), answer_features(*features)]


def published() -> pd.DataFrame:
    """The paper's numbers: model, what, step, change (of accuracy, or of its ratio where what is "forgetting")."""
    rows = [dict(model="OLMo-1B", what=group, step=step, change=value)
            for group, values in OLMO_GAIN.items() for step, value in zip(OLMO_STEPS, values, strict=True)]
    return pd.DataFrame(rows + [dict(model=model, what=f"forgetting, {way}", step=np.nan, change=value)
                                for (model, way), value in RATIOS.items()])


def answer(found: pd.DataFrame) -> str:
    """One sentence per finding of the paper: its numbers here, and in how many cases it holds."""
    said = {"latent_benefit": "latent benefit: the tuned loss falls with the step (Spearman's rho {value}) while the "
                              "checkpoint's own moves over the last half by {beside:.0%} of that fall (goal: rho at "
                              f"most {GOALS['spearman']:g}, under {GOALS['still']:.0%})",
            "unseen_gain": "what pre-training did not show gains most: {value} nats per token at the last step "
                           f"against {{beside:.2f}} on what it showed (goal: {GOALS['ratio']:g} times)",
            "forgetting": "forgetting: the loss on a domain that is not tuned rises by up to {value} nats, accuracy "
                          "there changes by {beside:+.0%}",
            "format": "formats: their spread of the tuned loss is {value} nats at the last step and at most "
                      "{beside:.3f} on the way (goal: below)"}
    parts = []
    for finding, part in found.groupby("finding", sort=False):
        value = _range(part["value"], {"latent_benefit": "+.2f", "format": ".3f"}.get(finding, ".2f"))
        parts.append(f"{said[finding].format(value=value, beside=part['beside'].mean())}: holds in "
                     f"{int(part['holds'].sum())} of {len(part)}")
    seeds = found["model_seed"].nunique()
    return f"With {seeds} language-model seed{'s' if seeds > 1 else ''}, {'; '.join(parts)}." if parts else ""


def _range(values: pd.Series, form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def answer_features(shared: pd.DataFrame, survival: pd.DataFrame, cohorts: pd.DataFrame, drift: pd.DataFrame,
                    joined: pd.DataFrame) -> str:
    """What becomes of features along training, beside the nulls, and whether they foresee the gain of fine-tuning."""
    if shared.empty:
        return ""
    rows = shared[(shared["features"] == "all") & (shared["side"] == "parent")].sort_values("step")
    rest = shared[(shared["features"] == "beyond_both") & (shared["side"] == "parent")].sort_values("step")
    both = [*zip(rows.itertuples(), rest.itertuples(), strict=True)]
    told = ", ".join(f"step {row.step:,} {row.observed:.0%} of {row.ceiling:.0%} (beyond token and neuron "
                     f"{more.observed:.0%} of {more.ceiling:.0%})"
                     for row, more in dict.fromkeys((both[0], both[len(both) // 2], both[-1])))
    at_two = survival[survival["lived"] == 2].groupby(["path", "order"])["alive"].mean()
    lasting = "; ".join(f"along {path} {at_two[path, 'as trained']:.0%} of lives pass on to two models or more, in a "
                        f"random order of the models {at_two.get((path, 'shuffled'), np.nan):.0%}"
                        for path in dict.fromkeys(survival["path"]) if (path, "as trained") in at_two)
    same = drift.groupby("path")[["same", "null_same"]].mean()
    kept = "; ".join(f"{row['same']:.0%} of latents stay the same from one model to the next along {path}, "
                     f"{row['null_same']:.0%} where the model does not change" for path, row in same.iterrows())
    born = cohorts[cohorts["path"] == "training"].groupby("born")["alive_at_end"].mean()
    rho = [stats.spearmanr(part["features_of_the_end"], part["gain_nats"])[0] for _, part in joined.groupby("task")]
    return (f"Of a checkpoint's features the last one has, by independent SAEs, {told}; the null within the token is "
            f"at most {rows['null'].max():.0%}, an untrained model shares at most {rows['null_untrained'].max():.0%}. "
            f"By warm-started SAEs, {lasting}; {kept}. Of lives that begin at the first checkpoint {born.iloc[0]:.0%} "
            f"last to the end, of those that begin at the last but one {born.iloc[-2]:.0%}. The features of the end "
            f"that a checkpoint has already go with a gain of fine-tuning by Spearman's rho "
            f"{' and '.join(f'{value:+.2f}' for value in rho)} (by task; both also follow the step).")
