"""Merging models: weights in, weights out.

Start with `slerp(a, b, t)` on two state dicts: t = 0 is a, t = 1 is b; `lerp` is the straight line beside it.
`balanced_t` chooses t by a rule, `angles` says how far apart two models are, `mergekit` reads and applies mergekit's
recipes. `zoo` has merges of several models: linear, task arithmetic, TIES, DARE, Fisher-weighted and RegMean;
`estimates` measures what the last two need.
"""

from unifeat.merging.choice import balanced_t, nearest_t
from unifeat.merging.slerp import angles, between, differing, lerp, slerp, straight

__all__ = ["angles", "balanced_t", "between", "differing", "lerp", "nearest_t", "slerp", "straight"]
