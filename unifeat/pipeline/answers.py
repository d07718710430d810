"""The answer in each notebook's first cell: one sentence with its number, written from the tables of the run."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from unifeat.lineage import Lineage
from unifeat.pipeline import readme
from unifeat.studies import (
    ancestry,
    checkpoint_answers,
    control_answers,
    dose,
    merge_answers,
    real_model,
    replicates,
    value_answers,
    weight_matching,
)


def answer(name: str, folder: Path, lineage: Lineage) -> str:
    """The answer of the notebook `name` (such as 02_base_model) from folder/data; "" where there is none."""
    found = ANSWERS.get(name[:2])
    return found(lambda table: pd.read_csv(folder / "data" / f"{table}.csv"), lineage) if found else ""


def guide(shares: pd.DataFrame, tau: float) -> str:
    """The answer of the guide from its table of persistence: the first edge, all features, both sides, at tau."""
    row = _at(shares, tau).iloc[0]
    return (f"Of the toys below, {row['observed']:.1%} [{row['ci_low']:.1%}, {row['ci_high']:.1%}] of the features of "
            f"{row['parent']} and {row['child']} have a one-to-one partner in the other at r >= {tau:g} (geometric "
            f"mean of both sides), where {row['ceiling']:.1%} could (seed ceiling) and {row['null']:.1%} would if the "
            "token alone decided (null).")


def _at(shares: pd.DataFrame, tau: float, features: str = "all") -> pd.DataFrame:
    """Rows of persistence.csv, one-to-one at tau, both sides, in the arm controlled."""
    wanted = dict(arm="controlled", side="both", rule="one_to_one", features=features)
    return shares[(shares[list(wanted)] == pd.Series(wanted)).all(axis=1) & ((shares["tau"] - tau).abs() < 1e-9)]


def _corpora(table: Callable, lineage: Lineage) -> str:
    stats, leak = table("corpora"), table("leakage")
    tokens = stats.groupby("split")["tokens"].sum() / 1e6
    return (f"{len(lineage.domains)} domains with {tokens['train']:.1f} M training and {tokens['validation']:.2f} M "
            f"held-out "
            f"tokens, split by document; between {leak['share'].min():.1%} and {leak['share'].max():.1%} of a domain's "
            "held-out windows of 13 tokens also stand in its training text.")


def _base(table: Callable, lineage: Lineage) -> str:
    root = lineage.roots[0]
    own, held = lineage.mix(root)[0], _held_out(table("models"), "bits_per_byte")
    words = ", ".join(f"{held[root, domain]:.3f} against {held['ngram', domain]:.3f} on "
                      f"{lineage.theme.domain(domain).label}"
                      for domain in own)
    better = sum(held[root, domain] < held["ngram", domain] for domain in own)
    return (f"On {better} of its {len(own)} domains: {words} (bits per byte on held-out text, the model against a "
            f"Bayes mixture of Kneser-Ney {lineage.evaluation.ngram}-grams, one per domain of the roots' training "
            "text; it is told no domain).")


def _fine_tuning(table: Callable, lineage: Lineage) -> str:
    loss, parts = _held_out(table("models"), "loss_nats"), []
    for parent, child in lineage.edges:
        if lineage.models[child].training:
            def change(domains, parent=parent, child=child):
                return sum(loss[child, domain] - loss[parent, domain] for domain in domains) / len(domains)

            gain, cost = change(lineage.mix(child)[0]), change(lineage.mix(parent)[0])
            parts.append(f"{lineage.theme.short(child)} {gain:+.2f} nats per token on its own text and {cost:+.2f} on "
                         f"{lineage.theme.model(parent).phrase}'s")
    return f"{'; '.join(parts)} (held-out loss, child minus parent; one training seed)." if parts else ""


def _merging(table: Callable, lineage: Lineage) -> str:
    accuracy, parts = _held_out(table("models"), "accuracy"), []
    for name, one in lineage.models.items():
        if len(one.origins) > 1:
            kept = [sum(accuracy[name, d] for d in lineage.mix(parent)[0]) / sum(accuracy[parent, d] for d in
                                                                                lineage.mix(parent)[0])
                    for parent in one.origins]
            words = " and ".join(f"{share:.0%} of the accuracy of {lineage.theme.short(parent)}"
                                 for share, parent in zip(kept, one.origins, strict=True))
            parts.append(f"{lineage.theme.short(name)} keeps {words}, each on that parent's own text")
    return f"{'; '.join(parts)}." if parts else ""


def _saes(table: Callable, lineage: Lineage) -> str:
    frame = table("saes")
    return (f"Their L0 is {frame['l0'].min():.1f} to {frame['l0'].max():.1f}, they recover "
            f"{frame['ce_recovered_mean'].min():.1%} to {frame['ce_recovered_mean'].max():.1%} of cross-entropy (mean "
            f"ablation), and at most {frame['dead_share'].max():.1%} of an SAE's latents are dead.")


def _flow(table: Callable, lineage: Lineage) -> str:
    every, rest = (_at(table("persistence"), lineage.comparison.tau, name) for name in ("all", "beyond_both"))
    parts = [f"{row.parent} → {row.child} {row.observed:.1%} [{row.ci_low:.1%}, {row.ci_high:.1%}] of a ceiling of "
             f"{row.ceiling:.1%} (beyond token and neuron {more.observed:.1%} of {more.ceiling:.1%})"
             for row, more in zip(every.itertuples(), rest.itertuples(), strict=True)]
    return (f"This share of the live features of parent and child has a one-to-one partner in the other at r >= "
            f"{lineage.comparison.tau:g} (geometric mean of both sides; 95 % intervals over documents and SAE seeds): "
            f"{'; '.join(parts)}. Permuted within the token it is at most {every['null'].max():.1%}, and with an "
            f"untrained model {every['null_untrained'].max():.1%} (beyond token and neuron {rest['null'].max():.1%} "
            f"and {rest['null_untrained'].max():.1%}).") if parts else ""


def _cases(table: Callable, lineage: Lineage) -> str:
    frame = table("partners")
    others = frame.filter(regex="^r_(?!twin$)")
    if others.empty:
        return ""
    least, tau = others.min(axis=1), lineage.comparison.tau
    home, nowhere = lineage.theme.model(lineage.edges[0][0]).phrase, others.max(axis=1) < tau
    beyond = frame["beyond_token"].astype(bool)
    return (f"The most universal feature beyond the current token has a partner at r >= {least[beyond].max():.2f} in "
            f"every other model; of the {len(frame):,} live features of {home} {(least >= tau).mean():.1%} have one at "
            f"r >= {tau:g} everywhere ({(least[beyond] >= tau).mean():.1%} of the {beyond.sum():,} beyond the token), "
            f"and {nowhere.mean():.1%} have one nowhere (best match, so many-to-one).")


def _explanations(table: Callable, lineage: Lineage) -> str:
    median = table("explanations").groupby("group", sort=False)["simulation"].median()
    return f"Median simulation scores (r): {', '.join(f'{group} {value:.2f}' for group, value in median.items())}."


def _controls(table: Callable, lineage: Lineage) -> str:
    try:
        found = [control_answers.answer(table(f"control_{name}"), title) for name, title in readme.CONTROLS.items()]
    except FileNotFoundError:
        return ""  # `controls` has not run here
    matter = [name for name, text in zip(readme.CONTROLS.values(), found, strict=True) if "it matters" in text]
    names = ", ".join(name.split(" (")[0].lower() for name in matter)
    return (f"Of {len(found)} settings, {len(matter)} move the excess of the first edge by more than documents, SAE "
            f"seeds and the number of comparisons allow: {names}.")


def _verdicts(table: Callable, lineage: Lineage) -> str:
    return weight_matching.answer(table("weights"))


def _studied(say: Callable) -> Callable:
    """The answer of a study; "" where `studies` has not run, so that a table is missing."""
    def answer(table: Callable, lineage: Lineage) -> str:
        try:
            return say(table, lineage)
        except FileNotFoundError:
            return ""

    return answer


def _all_said(answers) -> Callable:
    """What `answers.said` says of `answers.TABLES`."""
    return _studied(lambda table, lineage: " ".join(answers.said(*map(table, answers.TABLES))).strip())


@_studied
def _dose(table: Callable, lineage: Lineage) -> str:
    return f"{dose.answer(table('dose'), lineage.theme)} {dose.answer_zero(table('dose_zero'))}"


@_studied
def _value_networks(table: Callable, lineage: Lineage) -> str:
    return value_answers.answer(table("value_networks"))


@_studied
def _real_model(table: Callable, lineage: Lineage) -> str:
    return real_model.answer(table("real_model"), real_model.lineage().theme)


@_studied
def _ancestry(table: Callable, lineage: Lineage) -> str:
    found = table("ancestry"), table("nulls"), table("replicates")
    return " ".join([ancestry.answer(found[0]), ancestry.answer_changes(found[1]), replicates.answer(found[2])])


def _held_out(models: pd.DataFrame, column: str) -> pd.Series:
    return models[models["split"] == "validation"].set_index(["model", "domain"])[column]


ANSWERS = {"01": _corpora, "02": _base, "03": _fine_tuning, "04": _merging, "05": _saes, "06": _flow, "07": _cases,
           "08": _explanations, "09": _controls, "10": _verdicts, "11": _dose,
           "13": _all_said(checkpoint_answers), "14": _all_said(merge_answers), "15": _value_networks,
           "20": _real_model, "21": _ancestry}
