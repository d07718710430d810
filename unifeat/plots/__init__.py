"""Every figure: plain frames and arrays in, one matplotlib Figure out.

Call them as `plots.<name>`; `write` puts one on disk. `note` is the line of small type at the bottom that says what the
numbers were measured on. Labels and colors are in `style`.
"""

from unifeat.plots.agreement import swap, verdicts
from unifeat.plots.controls import control, frontier
from unifeat.plots.design import design
from unifeat.plots.explanations import explanations
from unifeat.plots.flow import flow
from unifeat.plots.models import corpora, domain_matrix, loss_curves, merge_sweep
from unifeat.plots.saes import ladder, sae_card
from unifeat.plots.style import DOMAIN_COLORS, DOMAIN_NAMES, MODEL_COLORS, MODEL_NAMES, STYLE, write
from unifeat.plots.tokens import token_heatmap

__all__ = ["DOMAIN_COLORS", "DOMAIN_NAMES", "MODEL_COLORS", "MODEL_NAMES", "STYLE", "control", "corpora", "design",
           "domain_matrix", "explanations", "flow", "frontier", "ladder", "loss_curves", "merge_sweep", "sae_card", "swap",
           "token_heatmap", "verdicts", "write"]
