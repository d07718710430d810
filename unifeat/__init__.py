"""unifeat: what happens to a language model's features when it is fine-tuned, merged, evolved or steered?

The science is in four rooms: `lm` (models), `sae` (sparse autoencoders), `merging` (weights), `matching` (features). A
`lineage` says how models are made and runs every stage once; `studies` turn a run into tables, `plots` into figures.
"""

__version__ = "0.2.0"


def explore(feature: str = "", run=None, frames=None):
    """A feature of a run, such as "tuned/123", as a rich view for notebooks; see `explorer.notebook_view.explore`."""
    from unifeat.explorer.notebook_view import explore as view

    return view(feature, run, frames)
