"""unifeat: what happens to a language model's features when it is fine-tuned or merged."""

__version__ = "0.1.0"


def explore(feature: str = "", run=None, frames=None):
    """A feature of a run, such as "lua/123", as a rich view for notebooks; see `featureview.explore`."""
    from unifeat.explorer.notebook_view import explore as view

    return view(feature, run, frames)
