"""Explanations of features, and how well they predict.

Start with `explain.explained(run)`. `rules` are lexical explanations learned offline, `scores` judge any explanation on
held-out documents, `groups` are Figure 6's; `prompts` and `client` ask a language model behind an endpoint.
"""
