"""Text: where it comes from, and how it becomes tokens.

Start with `corpora.build`, which cleans, deduplicates, splits and packs the documents that `sources` finds; `bpe`
trains the tokenizer; `comparison_text` draws the tokens on which features of all models are compared.
"""
