"""The explorer: every live feature on one offline HTML page (`page.write`), and one of them in a notebook."""
