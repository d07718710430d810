"""The repository's machinery: notebooks run in order, figures with their provenance, README's numbers, exports.

Start with `notebooks.run_notebooks`; `provenance.save` writes a figure with its tables and what they depend on.
"""
