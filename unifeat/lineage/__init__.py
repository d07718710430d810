"""A lineage: the table that says how each model is made, and the run that makes them.

Start with `open_run(lineage)`: its methods compute each stage once and keep it in the store. `settings` reads the
table from TOML, `given` takes models that exist already, `profiles/` holds the lineages that come with the package.
"""
