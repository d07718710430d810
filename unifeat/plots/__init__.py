"""Every figure: plain frames and arrays in, one matplotlib Figure out.

Call them as `plots.<name>`; `write` puts one on disk. Each takes a `Theme` after its data, which says how models and
domains are written and drawn. `note` is the line of small type at the bottom that says what the numbers were measured
on. Where a lineage has not the shape that a figure needs, a `LeftOut` comes back: one sentence that says so.
"""

from unifeat.plots.agreement import swap, verdicts
from unifeat.plots.ancestry import ancestry, null_models, real_model, replicates
from unifeat.plots.checkpoints import checkpoints
from unifeat.plots.controls import control, frontier
from unifeat.plots.design import design
from unifeat.plots.dose import dose
from unifeat.plots.explanations import explanations
from unifeat.plots.flow import flow
from unifeat.plots.functional import functional
from unifeat.plots.life_histories import life_histories
from unifeat.plots.merge_features import merge_features
from unifeat.plots.merge_search import merge_search
from unifeat.plots.merges import merge_sweep
from unifeat.plots.models import corpora, domain_matrix, loss_curves
from unifeat.plots.saes import ladder, sae_card
from unifeat.plots.style import STYLE, LeftOut, write
from unifeat.plots.tokens import token_heatmap
from unifeat.plots.value_details import value_details
from unifeat.plots.value_networks import value_networks

__all__ = ["STYLE", "LeftOut", "ancestry", "checkpoints", "control", "corpora", "design", "domain_matrix", "dose",
           "explanations", "flow", "frontier", "functional", "ladder", "life_histories", "loss_curves",
           "merge_features", "merge_search", "merge_sweep", "null_models", "real_model", "replicates", "sae_card",
           "swap", "token_heatmap", "value_details", "value_networks", "verdicts", "write"]
