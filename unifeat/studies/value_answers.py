"""What notebook 15 says: value networks beside their peers, their logits beside the true difference, their features."""

import numpy as np
import pandas as pd

from unifeat.studies.replicates import t_interval
from unifeat.studies.value_features import ARMS as NETWORKS
from unifeat.studies.value_features import TUNED
from unifeat.studies.value_networks import ARMS, EARLIER, LATER, LORA, PROXY, ROOT, VOCABULARY

MEANS = ["target", "method", "recovered", "low", "high", "rise_elsewhere"]
NORMS = ["norm", "where", "recovered", "low", "high"]
GATED = ("half the width", EARLIER, LATER, "another seed")


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """By target and method, R and the rise of the loss on other domains (nats per token), means over language-model
    seeds with Student's 95 % interval."""
    own = frame[frame["task"].astype(bool)]
    rest = frame[~frame["task"].astype(bool)].assign(rise=lambda one: one["with_nats"] - one["alone_nats"])
    rest = rest.groupby(["target", "method"])["rise"].mean()
    rows = []
    for (target, method), part in own.groupby(["target", "method"], sort=False):
        low, mean, high = t_interval(part["recovered"].to_numpy())
        rows.append(dict(target=target, method=method, recovered=mean, low=low, high=high,
                         rise_elsewhere=rest.get((target, method), np.nan)))
    return pd.DataFrame(rows, columns=MEANS)


def carried(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of value_networks.csv on targets that every arm was added to, and that the value network never saw."""
    own = frame[frame["task"].astype(bool)]
    return own[~own["target"].isin([ROOT, LATER, VOCABULARY]) & (own["method"] != LORA)]


def by_norm(frame: pd.DataFrame) -> pd.DataFrame:
    """value_norms.csv: R of residual value networks by the norm's weight: on the root that they saw, and its mean over
    the models they did not; means over language-model seeds with Student's 95 % interval."""
    rows, own = [], frame[frame["task"].astype(bool) & (frame["target"] == ROOT)]
    for where, part in (("seen", own), ("unseen", carried(frame))):
        for arm in (arm for arm in ARMS if arm.startswith("residual")):
            each = part[part["method"] == arm].groupby("model_seed")["recovered"].mean()
            if len(each):
                low, mean, high = t_interval(each.to_numpy())
                rows.append(dict(norm=ARMS[arm][2], where=where, recovered=mean, low=low, high=high))
    return pd.DataFrame(rows, columns=NORMS)


def answer(frame: pd.DataFrame) -> str:
    """What value networks recover on models that they never saw, beside their peers."""
    if frame.empty:
        return ""
    found = over_seeds(frame).set_index(["method", "target"])["recovered"].unstack()
    found = found[list(dict.fromkeys(frame["target"]))]  # in their order
    own, away = found[ROOT], carried(frame).groupby("method")["recovered"].mean()
    told = ", ".join(f"{name} {found.loc['residual', name]:.2f}" for name in found.columns)
    norms = [arm for arm in ARMS if arm.startswith("residual_")]
    fine = [arm for arm in norms if own[arm] - away[arm] < own["residual"] - away["residual"]
            and away[arm] > away["residual"] - 0.02]
    best = max(fine or norms, key=lambda arm: away[arm])
    seeds = frame["model_seed"].nunique()
    goal = (found.loc["residual", [name for name in GATED if name in found]] >= 0.5).all()
    tuned = found.loc[LORA].dropna() if LORA in found.index else {}
    more = (f" LoRA on the model itself recovers {', '.join(f'{share:.2f} ({name})' for name, share in tuned.items())}."
            if len(tuned) else "")
    if VOCABULARY in found:
        share = found.loc["residual", VOCABULARY]
        more += f" Carried to another vocabulary, R > 0 is {'met' if share > 0 else 'missed'} ({share:.2f})."
    return (f"Of what full fine-tuning gains (R = 1) the residual value network recovers {told} (means of {seeds} seed"
            f"{'s' if seeds > 1 else ''}); R of .5 on other sizes, seeds and states is {'met' if goal else 'missed'}. "
            f"Mean R on models that it never saw: residual {away['residual']:.2f}, cascade {away['cascade']:.2f}, the "
            f"authors' start with their norm {away['pretrained_1']:.2f}, proxy tuning {away[PROXY]:.2f}. With a norm "
            f"of {ARMS[best][2]:g} it is {away[best]:.2f}, {own[best] - away[best]:.2f} below that on the root "
            f"({own['residual'] - away['residual']:.2f} without): the goal, a norm that narrows this gap and costs at "
            f"most .02, is {'met' if fine else 'missed'}.{more}")


def answer_differences(frame: pd.DataFrame) -> str:
    """How much of the true difference the logits are."""
    if frame.empty:
        return ""
    found = frame.groupby(["method", "model_seed"])[["r", "length"]].first().groupby("method").mean()
    told = ", ".join(f"{found.loc[arm, 'r']:.2f} ({found.loc[arm, 'length']:.1f} times as long)" for arm in
                     ("residual", "residual_1", "cascade", "pretrained_1"))
    return ("On the root, r of the added logits with what fine-tuning changes is, for residual, norm 1, cascade and "
            f"the authors' start: {told}.")


def answer_features(frame: pd.DataFrame, swaps: pd.DataFrame) -> str:
    """Whether a value network has the features of the fine-tuned model or those of the model it began as."""
    if frame.empty:
        return ""
    part = frame[(frame["features"] == "all") & (frame["side"] == "child")]
    root = next(name for name in part["parent"] if name != TUNED)
    told = []
    for child, words in (("value", "without a norm"), ("value_1", "with a norm of 1")):
        one = part[part["child"] == child].groupby("parent")[["observed", "ceiling", "null", "null_untrained"]].mean()
        tuned = one.loc[TUNED]
        told.append(f"{words} {tuned['observed']:.0%} in the fine-tuned root and {one.loc[root, 'observed']:.0%} in "
                    f"the root (ceilings {tuned['ceiling']:.0%} and {one.loc[root, 'ceiling']:.0%}; within tokens "
                    f"{tuned['null']:.0%}, untrained {tuned['null_untrained']:.0%})")
    straight = part[(part["parent"] == root) & (part["child"] == TUNED)]["observed"].mean()
    fvu = swaps.groupby(["model", "sae_model"])["fvu"].mean()
    away = ", ".join(f"{fvu[name, TUNED]:.2f} (its own {fvu[name, name]:.2f})" for name in NETWORKS if name in fvu)
    seeds = frame["model_seed"].nunique()
    return (f"Of a value network's features these have a partner: {'; '.join(told)}; of the fine-tuned root's own "
            f"{straight:.0%} have one in the root (means of {seeds} seed{'s' if seeds > 1 else ''}). The fine-tuned "
            f"root's SAE leaves this share of variance unexplained in the value networks without a norm, with a norm "
            f"of 1 and of the authors' start: {away}.")
