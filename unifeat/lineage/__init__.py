"""A lineage: the table that says how each model is made, and the run that makes them.

Start with `run.open_run("laptop")`: its methods compute each stage once and keep it in the store. `read` makes a
`Lineage` from TOML, `given` takes models that exist already, `profiles/` holds the lineages that come with the package.
"""

from unifeat.lineage.lineage import Lineage
from unifeat.lineage.reading import choose, read, shipped
from unifeat.lineage.settings import LineageError

__all__ = ["Lineage", "LineageError", "choose", "read", "shipped"]
