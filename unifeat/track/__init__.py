"""Two models, or two SAEs, compared in one page: which features of B were in A before, and which of A's survive in B.

`python -m unifeat track A B --text FOLDER` ends here. Start with `models.track` (two models, whose SAEs are trained
here) or `saes.track` (two SAEs that exist): each gives a `found.Found`, of which `card.card` makes numbers and
`page.page` HTML.
"""
