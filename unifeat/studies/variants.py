"""Variants of a run in the same store: other settings, other models, or every model from another seed."""

import dataclasses

from unifeat.lineage.run import Run
from unifeat.lineage.settings import LineageError

WEAK_L1 = 1.0  # where relu's steered coefficient starts if the lineage has none


def variant(run: Run, **changes: dict) -> Run:
    """The run with settings of some stages replaced, in the same store: variant(run, sae=dict(k=8))."""
    sections = {name: dataclasses.replace(getattr(run.lineage, name), **change) for name, change in changes.items()}
    return dataclasses.replace(run, lineage=dataclasses.replace(run.lineage, **sections), seconds={})


def with_models(run: Run, **members) -> Run:
    """The run with members of its lineage replaced, or added, in the same store."""
    return dataclasses.replace(run, lineage=dataclasses.replace(run.lineage, models=run.lineage.models | members),
                               seconds={})


def other(run: Run, **change) -> Run:
    """The same run with other SAEs: of the lineage's seeds, trained for controls.tokens, and `change` on top.

    Every recipe carries relu's L1 coefficient, which the other kinds ignore: equal recipes then have equal settings and
    are trained once.
    """
    p = run.lineage
    return variant(run, sae=dict(tokens=p.controls.tokens, l1=p.sae.l1 or WEAK_L1) | change)


def replicate(run: Run, number: int) -> Run:
    """The run with every trained model from other seeds: initial weights and order of the text, each + number."""
    members = {}
    for name, one in run.lineage.models.items():
        again = {way: dataclasses.replace(training, seed=training.seed + number)
                 for way in ("train", "finetune") if (training := getattr(one, way))}
        members[name] = dataclasses.replace(one, **again)
    return variant(with_models(run, **members), model=dict(seed=run.lineage.model.seed + number))


def first_edge(run: Run) -> tuple[str, str]:
    """The edge that the controls are about.

    Raises:
        LineageError: the lineage has no edge.
    """
    if not run.lineage.edges:
        raise LineageError(f"The controls compare a parent with its child, and {run.lineage.name} has no edge; add a "
                           f"model with a parent to the lineage.")
    return run.lineage.edges[0]


def another_root(run: Run, name: str) -> Run | None:
    """The run with the model `name` trained from another seed; None if it is not trained here."""
    one = run.lineage.models[name]
    if not one.train:
        return None
    again = dataclasses.replace(one, train=dataclasses.replace(one.train, seed=one.train.seed + 1))
    return variant(with_models(run, **{name: again}), model=dict(seed=run.lineage.model.seed + 1))


def variants(run: Run) -> dict[str, list[tuple]]:
    """Per question that needs other SAEs, (x, run) of each variant."""
    p = run.lineage
    counts = [round(p.controls.tokens * share) for share in p.controls.lengths]
    return dict(kinds=[(kind, other(run, kind=kind)) for kind in p.controls.kinds],
                sizes=[(times, other(run, width=times * p.model.d_mlp)) for times in p.controls.expansions],
                lengths=[(count / 1e6, other(run, tokens=count)) for count in counts])


def pair(run: Run, **change) -> Run:
    """`other` with two SAEs a model: for studies that train many models."""
    return other(run, seeds=run.lineage.sae.seeds[:2], **change)
