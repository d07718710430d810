"""What a track found, whatever it compared: comparisons, ceilings and nulls, as arrays over thresholds and resamples.

Side "a" are A's features that survive in B (the parent's side of `matching`), side "b" B's that persist from A.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.matching import bootstrap
from unifeat.matching.comparison import Comparison

SIDES = {"a": "parent", "b": "child"}
RULE = "one_to_one"


@dataclass(frozen=True, eq=False)
class Found:
    """Two things compared.

    pairs: comparisons of an SAE of A with one of B (of models: those of different seeds); ceilings and nulls: tables of
    `comparison.compare` and the side of them that counts, by side; features: latents (tokens, width) of the first
    pair's two SAEs; twins: each live feature's best r in a twin of its SAE, None without one; saes: facts on each SAE;
    measured: on what their quality was; doubts: sentences that a reader should see.
    """

    kind: str  # model | sae
    labels: tuple[str, str]
    runs: tuple[Run, ...]  # one, or of two SAEs each one's; the first gives text, tokenizer and settings
    pairs: list[Comparison]
    ceilings: dict[str, list[tuple[dict, str]]]
    nulls: dict[str, dict[str, list[tuple[dict, str]]]]
    features: tuple[sparse.csr_matrix, sparse.csr_matrix]
    twins: dict[str, np.ndarray | None]
    saes: list[dict]
    measured: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curves:
    """Shares over matching.TAUS and their resamples (resamples, taus), None where there are none."""

    share: np.ndarray
    resampled: np.ndarray
    ceiling: tuple[np.ndarray, np.ndarray] | None
    nulls: dict[str, tuple[np.ndarray, np.ndarray | None]]


def curves(found: Found, side: str) -> Curves:
    """One side's shares beside its ceiling and its nulls, means over the pairs of SAEs."""
    own = [(one.table, SIDES[side]) for one in found.pairs]
    ceiling = _mean(found.ceilings[side]) if found.ceilings[side] else None
    within = np.mean([table[f"null.{RULE}.{column}"] for table, column in own], axis=0)
    nulls = {name: _mean(tables[side]) for name, tables in found.nulls.items() if tables[side]}
    return Curves(*_mean(own), ceiling, {"within_token": (within, None)} | nulls)


def _mean(tables: list[tuple[dict, str]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.mean([table[f"{label}.{RULE}.{side}"] for table, side in tables], axis=0)
                 for label in ("observed", "resampled"))


def geometric(a: Curves, b: Curves) -> Curves:
    """The geometric mean of both sides: pairs at r >= tau over the root of both numbers of features."""
    def mean(x, y):
        return None if x is None or y is None else np.sqrt(np.clip(x, 0, None) * np.clip(y, 0, None))

    def both(x, y):
        return None if x is None or y is None else tuple(mean(*one) for one in zip(x, y, strict=True))

    return Curves(mean(a.share, b.share), mean(a.resampled, b.resampled), both(a.ceiling, b.ceiling),
                  {name: both(a.nulls[name], b.nulls[name]) for name in a.nulls if name in b.nulls})


def stated(one: Curves, at: int) -> dict:
    """A side in numbers at threshold number `at`: share, ceiling, nulls, excess over the greatest null, 95 % intervals.

    All resamples draw the same documents, so that what share, ceiling and null have in common cancels in the excess.
    """
    nulls = {name: float(values[at]) for name, (values, _) in one.nulls.items()}
    hardest = max(nulls, key=nulls.get)
    out = dict(share=float(one.share[at]), ci=_ends(one.resampled[:, at], one.share[at]), ceiling=None, ceiling_ci=None,
               nulls=nulls, null=hardest, excess=None, excess_ci=None)
    if one.ceiling is None:
        return out
    ceiling, drawn = one.ceiling[0][at], one.ceiling[1][:, at]
    values, resampled = one.nulls[hardest]
    null = values[at] if resampled is None else resampled[:, at]
    excess = matching.excess(one.resampled[:, at], drawn, null)
    return out | dict(ceiling=float(ceiling), ceiling_ci=_ends(drawn, ceiling),
                      excess=float(matching.excess(one.share[at], ceiling, values[at])),
                      excess_ci=_ends(excess, None, (-np.inf, np.inf)))


def _ends(resampled: np.ndarray, observed, bounds=(0, 1)) -> list[float]:
    return [float(end) for end in bootstrap.interval(resampled, observed, bounds=bounds)]


def bands(one: Curves) -> dict[str, list]:
    """A side over all thresholds, for a figure: share, ci_low, ci_high, ceiling, and each null by name."""
    low, high = bootstrap.interval(one.resampled, one.share)
    out = dict(share=one.share, ci_low=low, ci_high=high)
    if one.ceiling is not None:
        out["ceiling"] = one.ceiling[0]
    return {name: [float(value) for value in values]
            for name, values in (out | {name: values for name, (values, _) in one.nulls.items()}).items()}
