"""Is it ancestry? A child beside a model that has its text and no parent, and beside changes that teach nothing
(notebook 21).

Two models that read the same text share features without being related, and two SAEs that read different text share
fewer of one model's. Here each is varied alone: ancestry (fine-tuned from the parent, or trained from scratch on the
child's text) and the SAEs' text (one common text, or each model's own).
"""

import dataclasses
import itertools

import pandas as pd

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.lineage.settings import Member, Perturbed, Untrained
from unifeat.matching.comparison import Comparison
from unifeat.studies import across, dose, persistence, variants
from unifeat.studies.shares import Evidence
from unifeat.support import parallel

BITS = 4  # of the rounded weights
SCRATCH, TEXTS = "scratch", ("common", "own")
NULLS = ("trained_on", "random_update", "quantized", "untrained")
COLUMNS = ["model", "ancestry", "sae_text", *dose.SHARE]
CHANGES = ["parent", "model", "change", "rise_parent_text", "rise_child_text", "weight_distance", "neuron_r",
           *dose.SHARE]


def subject(run: Run) -> tuple[str, str] | None:
    """The first trained root and its first fine-tuned child; None where there is none."""
    root, found = run.lineage.roots[0], dose.children(run)
    return (root, found[0]) if found and run.lineage.models[root].train else None


def scratch(run: Run, root: str, child: str) -> Run:
    """A run with the member SCRATCH: trained as the root is, on the child's text, from other initial weights."""
    how, text = run.lineage.models[root].train, run.lineage.models[child].finetune
    train = dataclasses.replace(how, text=text.text, weights=text.weights, seed=how.seed + 1)
    return variants.with_models(variants.replicate(run, 1), **{SCRATCH: Member(train=train)})


def with_nulls(run: Run, root: str, child: str) -> Run:
    """The run with the members NULLS: the root trained on with its own text as the child was with its; moved at random
    as far as the child, tensor by tensor; rounded to BITS bits; and never trained."""
    how, text = run.lineage.models[child].finetune, run.lineage.models[root].train
    on = dataclasses.replace(how, text=text.text, weights=text.weights)
    members = (Member(parent=root, finetune=on), Member(parent=root, perturbed=Perturbed(like=child)),
               Member(parent=root, quantized=BITS), Member(untrained=Untrained(seed=run.lineage.model.seed + 1)))
    return variants.with_models(run, **dict(zip(NULLS, members, strict=True)))


def prepare(run: Run) -> None:
    """Make all models and SAEs of both tables ready, several at a time."""
    if subject(run) is None:
        return
    root, child = subject(run)
    other, nulls = scratch(run, root, child), with_nulls(run, root, child)
    models = [(other, SCRATCH), *((nulls, name) for name in NULLS)]
    parallel.side_by_side(lambda job, bar: job[0].model_stage(job[1], bar), models,
                          sum(one.lineage.models[name].training.tokens for one, name in models
                              if one.lineage.models[name].training), "models without the parent's past")
    jobs = [(variants.pair(nulls), name) for name in (root, child, *NULLS)]
    jobs += [(variants.pair(other), SCRATCH)]
    for one, name in ((run, child), (other, SCRATCH)):
        jobs += [(variants.pair(one, text=text), of) for text, of in (("own", name), (root, name))]
    jobs += [(variants.pair(run, text=text), root) for text in ("own", child)]
    parallel.side_by_side(lambda job, bar: job[0].sae_stage(job[1], bar), jobs,
                          sum(one.lineage.sae.tokens for one, _ in jobs), "SAEs of both texts")


def ancestry(run: Run) -> pd.DataFrame:
    """ancestry.csv: the root against the child and against the model from scratch, by what the SAEs read.

    sae_text: `common`, or `own`: what each model was trained on. Every ceiling is of SAEs that read what the compared
    ones read: with `own`, of one model once on each of the two texts, the side's own features counted. Shares
    one-to-one at the lineage's tau; intervals are over documents.
    """
    if subject(run) is None:
        return pd.DataFrame(columns=COLUMNS)
    (root, child), rows = subject(run), []
    for name, one in ((child, run), (SCRATCH, scratch(run, root, child))):
        for text, found in zip(TEXTS, (_common(run, root, one, name), _own(run, root, child, one, name)), strict=True):
            head = dict(model=name, ancestry="child" if name == child else "none", sae_text=text)
            rows += [head | row for row in dose.share_rows(found, run.lineage.comparison.tau)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _common(run: Run, root: str, one: Run, name: str) -> Evidence:
    if one is run:
        return persistence.evidence(variants.pair(run), root, name)
    return across.evidence("ancestry", variants.pair(run), root, variants.pair(one), name)


def _own(run: Run, root: str, child: str, one: Run, name: str) -> Evidence:
    """Each model's SAEs on its own text; ceilings across the two texts within a model."""
    first, second = variants.pair(run, text="own"), variants.pair(one, text="own")
    there, back = variants.pair(run, text=child), variants.pair(one, text=root)
    twins = dict(parent=(first, root, there, root), child=(back, name, second, name))
    return Evidence(_pairs("own", first, root, second, name),
                    {side: [one_sided(found, side) for found in _pairs("texts", *ends)]
                     for side, ends in twins.items()})


def _pairs(stage: str, one: Run, a: str, other: Run, b: str) -> list[Comparison]:
    seeds = one.lineage.sae.seeds
    return [across.across(stage, one, (a, i), other, (b, j)) for i, j in itertools.permutations(seeds, 2)]


def one_sided(found: Comparison, side: str) -> Comparison:
    """A comparison whose shares on both sides are those of one side's features."""
    away = next(one for one in matching.SIDES if one != side)
    table = {key: found.table[key.replace(f".{away}", f".{side}")] for key in found.table
             if f".{away}" in key} | {key: value for key, value in found.table.items() if f".{away}" not in key}
    return dataclasses.replace(found, table=table)


def changes(run: Run) -> pd.DataFrame:
    """nulls.csv: the root against models that differ from it by more and by less than its child does.

    change: `fine-tuned` (the child), `scratch`, or one of NULLS; rise_parent_text, rise_child_text: rise of the
    held-out loss (nats per token) on either's text; weight_distance, neuron_r: as in dose.csv. SAEs read the common
    text.
    """
    if subject(run) is None:
        return pd.DataFrame(columns=CHANGES)
    (root, child), rows = subject(run), []
    nulls, other = variants.pair(with_nulls(run, root, child)), variants.pair(scratch(run, root, child))
    for name, change, one in ((child, "fine-tuned", nulls), *((name, name, nulls) for name in NULLS),
                              (SCRATCH, SCRATCH, other)):
        found = (persistence.evidence(nulls, root, name) if one is nulls else
                 across.evidence("ancestry", nulls, root, other, name))
        rise = dose.risen(nulls, root, one, name)
        head = dict(parent=root, model=name, change=change) | {
            f"rise_{side}_text": rise[list(run.lineage.mix(of)[0])].mean()
            for side, of in zip(matching.SIDES, (root, child), strict=True)} | dose.moved(nulls, root, one, name)
        rows += [head | row for row in dose.share_rows(found, run.lineage.comparison.tau)]
    return pd.DataFrame(rows, columns=CHANGES)


def answer(frame: pd.DataFrame) -> str:
    """One sentence: what the child and the model from scratch share with the parent, on either text."""
    if frame.empty:
        return "No root here is trained and has a fine-tuned child, so ancestry cannot be told from text."
    every, beyond = (frame[(frame["side"] == "both") & (frame["features"] == name)].set_index(["ancestry", "sae_text"])
                     for name in ("all", "beyond_both"))
    parts = [f"{words} share {_share(every.loc[at])} ({_share(beyond.loc[at])} beyond token and neuron)"
             for words, at in (("parent and child", ("child", "common")),
                               ("parent and the same text from scratch", ("none", "common")))]
    own = [_share(every.loc[(kind, "own")]) for kind in ("child", "none")]
    return (f"On one common text, {parts[0]}, {parts[1]}. With SAEs of each model's own text the shares are {own[0]} "
            f"and {own[1]}: of ceilings across the two texts, both sides.")


def answer_changes(frame: pd.DataFrame) -> str:
    """One sentence: what each change leaves of the parent's features."""
    rows = frame[(frame["side"] == "both") & (frame["features"].isin(("all", "beyond_both")))]
    told = [f"{change.replace('_', ' ')} {' and '.join(_share(row) for _, row in part.iterrows())}"
            for change, part in rows.groupby("change", sort=False)]
    return f"Shared with the parent, of all features and of those beyond token and neuron: {', '.join(told)}."


def _share(row) -> str:
    return f"{row['observed']:.0%} of {row['ceiling']:.0%}"
