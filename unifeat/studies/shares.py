"""A share of persisting features beside ceiling, null and excess, with intervals over documents and SAE seeds."""

from dataclasses import dataclass, field

import numpy as np

from unifeat import matching
from unifeat.matching import bootstrap
from unifeat.matching.comparison import Comparison

SIDES = ("child", "parent", "both")
FEATURES = ("all", "beyond_token", "beyond_neuron", "beyond_both", "found_again")
ENDS = ("ci_low", "ci_high")


def values(table: dict, label: str, rule: str, side: str, features: str = "all") -> np.ndarray:
    """Shares of one comparison over matching.TAUS, or their resamples (resamples, taus).

    table: of `comparison.compare`; label: observed, resampled or null. side "both" is the geometric mean of the two:
    for one-to-one pairs of all features, their number over sqrt(n_parent n_child). Where one side's SAE misses features
    that its model has, one side's share is too high and the other's too low; their geometric mean is less wrong.
    """
    if side == "both":
        parent, child = (values(table, label, rule, one, features) for one in matching.SIDES)
        return np.sqrt(np.clip(parent, 0, None) * np.clip(child, 0, None))
    key = f"{label}.{rule}.{side}" + ("" if features == "all" else f".{features}")
    return table[key] if key in table else np.full_like(table[f"{label}.{rule}.{side}"], np.nan)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the shares of one edge are computed from.

    pairs: comparisons of SAEs of the parent with SAEs of the child; twins: those of each two SAEs of one model, of the
    parent's and of the child's ("parent", "child").
    """

    pairs: list[Comparison]
    twins: dict[str, list[Comparison]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the SAEs that are compared."""
        return sorted({seed for one in self.pairs for _, seed in (one.a, one.b)})

    def mean(self, label: str, rule: str, side: str, features: str = "all", without: int | None = None) -> np.ndarray:
        """`values`, mean over the pairs that have not the seed `without`."""
        return np.mean([values(one.table, label, rule, side, features) for one in _left(self.pairs, without)], axis=0)

    def ceiling(self, label: str, rule: str, side: str, features: str = "all", without: int | None = None):
        """The same between twins: of side "both" the geometric mean of both models' ceilings."""
        if side == "both":
            parent, child = (self.ceiling(label, rule, one, features, without) for one in matching.SIDES)
            return np.sqrt(np.clip(parent, 0, None) * np.clip(child, 0, None))
        return np.mean([values(one.table, label, rule, end, features)
                        for one in _left(self.twins[side], without) for end in matching.SIDES], axis=0)


def _left(comparisons: list[Comparison], without: int | None) -> list[Comparison]:
    return [one for one in comparisons if without not in (one.a[1], one.b[1])]


def observed(evidence: Evidence, rule: str, side: str = "child", features: str = "all") -> dict[str, np.ndarray]:
    """observed, ci_low and ci_high over matching.TAUS."""
    low, share, high = _stated(evidence, lambda label, seed: evidence.mean(label, rule, side, features, seed))
    return dict(observed=share, ci_low=low, ci_high=high)


def ceiling(evidence: Evidence, rule: str, side: str = "child", features: str = "all") -> dict[str, np.ndarray]:
    """ceiling, ceiling_low and ceiling_high over matching.TAUS."""
    low, share, high = _stated(evidence, lambda label, seed: evidence.ceiling(label, rule, side, features, seed))
    return dict(ceiling=share, ceiling_low=low, ceiling_high=high)


def measured(evidence: Evidence, rule: str, side: str = "child", features: str = "all") -> dict[str, np.ndarray]:
    """observed, ceiling, null and excess over matching.TAUS, each (but the null) with the ends of its interval.

    Edge and twins resample the same documents and leave out the same seeds, so that what they share cancels in the
    excess. The null is that of the pairs: rows permuted within their token.
    """
    of = (rule, side, features)

    def excess(label, seed):
        return matching.excess(evidence.mean(label, *of, seed), evidence.ceiling(label, *of, seed),
                               evidence.mean("null", *of, seed))

    low, value, high = _stated(evidence, excess, (-np.inf, np.inf))
    return (observed(evidence, *of) | ceiling(evidence, *of) | dict(null=evidence.mean("null", *of))
            | dict(excess=value, excess_low=low, excess_high=high))


def replicates(evidence: Evidence, rule: str, side: str = "child", features: str = "all") -> dict[str, np.ndarray]:
    """The excess over matching.TAUS, as it is and with documents and seeds changed: what `differences` compares.

    value (taus,); resampled (resamples, taus): on resampled documents; left_out (seeds, taus): without one seed of the
    SAEs at a time. Parent's and child's SAEs of one seed leave together, since every pair of other seeds needs both;
    with two seeds no pair is left, and left_out has no row.
    """
    def excess(label, seed):
        of = (rule, side, features)
        return matching.excess(evidence.mean(label, *of, seed), evidence.ceiling(label, *of, seed),
                               evidence.mean("null", *of, seed))

    value, seeds = excess("observed", None), evidence.seeds
    left = [excess("observed", seed) for seed in seeds] if len(seeds) > 2 else np.empty((0, *value.shape))
    return dict(value=value, resampled=excess("resampled", None), left_out=np.array(left))


def alone(tables: list[dict], rule: str, side: str = "child", features: str = "all") -> dict[str, np.ndarray]:
    """`observed` of comparisons that have no seeds to leave out: the interval is over documents."""
    share, drawn = (np.mean([values(one, label, rule, side, features) for one in tables], axis=0)
                    for label in ("observed", "resampled"))
    low, high = bootstrap.interval(drawn, share)
    return dict(observed=share, ci_low=low, ci_high=high)


def _stated(evidence: Evidence, estimate, bounds=(0, 1)) -> tuple:
    """Low end, value and high end of estimate(label, seed left out), over documents and seeds."""
    value, seeds = estimate("observed", None), evidence.seeds
    left = [estimate("observed", seed) for seed in seeds] if len(seeds) > 2 else []
    ends = bootstrap.interval(estimate("resampled", None), value, bounds=bounds)
    low, high = bootstrap.over_seeds(ends, value, np.array(left), bounds)
    return low, value, high


def at(found: dict[str, np.ndarray], tau: float) -> dict[str, float]:
    """What `observed` or `measured` found, at one threshold."""
    return {name: float(curve[number(tau)]) for name, curve in found.items()}


def number(tau: float) -> int:
    """Where `tau` stands in matching.TAUS."""
    return int(np.argmin(np.abs(matching.TAUS - tau)))
