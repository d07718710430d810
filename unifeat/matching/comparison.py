"""Two SAEs compared: the matches of their features, the shares, their intervals and the permuted null, as arrays."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from unifeat.matching import bootstrap
from unifeat.matching.correlation import correlate
from unifeat.matching.match import match, permute_within, persistence


def compare(a, b, text: dict[str, np.ndarray], resamples: int, seed: int, with_null: bool = True, subsets=({}, {}),
            ) -> dict[str, np.ndarray]:
    """All that is kept of one comparison of the live features a (tokens, n_a) with b (tokens, n_b).

    text: per row its document, its domain (of which resamples keep the number of documents) and its token. subsets:
    named masks of features on each side whose shares are wanted too.
    best_of_a, best_of_b, r_of_a, r_of_b: best partner and its r; assigned, r_assigned: the one-to-one pairs; null_*:
    the same with b's rows permuted within their token; "observed.rule.side", "null.rule.side" (taus,) and
    "resampled.rule.side" (resamples, taus), those of a subset with ".subset" behind.
    """
    if sparse.issparse(a) and sparse.issparse(b):  # as `correlate` needs them, once for both
        a, b = (sparse.csr_matrix(m, dtype=np.float64) for m in (a, b))
    found = match(correlate(a, b))
    out = dict(best_of_a=found.partner_of_a, best_of_b=found.partner_of_b, r_of_a=found.r.max(1, initial=-1),
               r_of_b=found.r.max(0, initial=-1), assigned=found.assigned, r_assigned=found.r[tuple(found.assigned.T)])
    drawn = bootstrap.resampled_r(a, b, found, text["document"], text["domain"], resamples, seed)
    masks = {"": (None, None)} | {f".{name}": tuple(of.get(name, np.zeros(m.shape[1], bool))
                                                    for of, m in zip(subsets, (a, b), strict=True))
                                  for name in {**subsets[0], **subsets[1]}}
    tables = {}
    for name, of in masks.items():
        tables["observed", name] = persistence(found, of=of)
        tables["resampled", name] = bootstrap.spread(found, drawn, of=of)
    if with_null:
        del found, drawn  # a large dictionary's r takes gigabytes
        rows, others = permute_within(text["token"], seed)
        null = match(correlate(a[rows], b[others]))
        out |= dict(null_of_a=null.r.max(1, initial=-1), null_of_b=null.r.max(0, initial=-1),
                    null_assigned=null.r[tuple(null.assigned.T)], null_pairs=null.assigned)
        for name, of in masks.items():
            tables["null", name] = persistence(null, of=of)
    return out | {f"{label}.{rule}.{side}{name}": value for (label, name), shares in tables.items()
                  for (rule, side), value in shares.items()}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A stored match: `a` and `b` are (model, seed), live_* the latents compared, table the arrays of `compare`."""

    a: tuple[str, int]
    b: tuple[str, int]
    live_a: np.ndarray
    live_b: np.ndarray
    table: dict

    def kept(self, rule: str, tau: float) -> tuple[np.ndarray, np.ndarray]:
        """Which live features of a and of b have a partner at r >= tau under best or one_to_one."""
        if rule == "best":
            return self.table["r_of_a"] >= tau, self.table["r_of_b"] >= tau
        pairs = self.table["assigned"][self.table["r_assigned"] >= tau]
        return (np.isin(np.arange(len(self.live_a)), pairs[:, 0]),
                np.isin(np.arange(len(self.live_b)), pairs[:, 1]))
