"""Matching the features of two SAEs by the correlation of their activations.

Start with `correlate(a, b)` on two (tokens, features) matrices, then `match(r)` for partners and `persistence(match)`
for the share of features that have one at every threshold. `bootstrap` gives intervals, `comparison` all of it in one
call, `token_features` tells which features the current token alone decides, `planted` makes pairs of known truth.
"""

from unifeat.matching.correlation import Moments, correlate
from unifeat.matching.match import (
    ROUNDING,
    RULES,
    SIDES,
    TAUS,
    Match,
    excess,
    match,
    permute,
    permute_within,
    persistence,
)

__all__ = ["ROUNDING", "RULES", "SIDES", "TAUS", "Match", "Moments", "correlate", "excess", "match", "permute",
           "permute_within", "persistence"]
