"""SAEs of two runs compared: of one model on two texts, or of models that are not in one lineage."""

import dataclasses

from unifeat.lineage.run import Run
from unifeat.matching.comparison import Comparison
from unifeat.studies import baselines
from unifeat.studies.shares import Evidence


def across(stage: str, one: Run, a: tuple[str, int], other: Run, b: tuple[str, int]) -> Comparison:
    """Features of the SAE a = (model, seed) of a run matched with those of b of another run, live ones only.

    Both runs have one comparison text. The result is kept under `stage` and the names of a and b.
    """
    def sides():
        return [run.features(*which)[:, run.live(*which)] for run, which in ((one, a), (other, b))]

    def subsets():
        return one.subsets(*a), other.subsets(*b)

    found = baselines.kept(one, f"{stage}-{a[0]}{a[1]}-{b[0]}{b[1]}", sides, [one.look_stage(a[0]),
                           other.look_stage(b[0])], with_null=True, subsets=subsets)
    return Comparison(a, b, one.live(*a), other.live(*b), found)


def evidence(stage: str, one: Run, parent: str, other: Run, child: str) -> Evidence:
    """All comparisons of SAEs of `parent` in a run with those of `child` in another, seeds of unequal place paired.

    The child's seeds are called by their places among the parent's, so that those that are left out leave together.
    """
    seeds = one.lineage.sae.seeds
    place = dict(zip(other.lineage.sae.seeds, seeds, strict=True))

    def named(found: Comparison, *ends: str) -> Comparison:
        names = {end: (getattr(found, end)[0], place[getattr(found, end)[1]]) for end in ends}
        return dataclasses.replace(found, **names)

    pairs = [named(across(stage, one, (parent, a), other, (child, b)), "b")
             for a in seeds for b in place if a != place[b]]
    return Evidence(pairs, dict(parent=one.twins(parent), child=[named(twin, "a", "b") for twin in other.twins(child)]))
