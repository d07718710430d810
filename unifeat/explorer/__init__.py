"""The explorer: every live feature of a lineage on one offline page (`page.write`), and one of them in a notebook."""
