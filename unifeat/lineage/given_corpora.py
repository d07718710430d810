"""Corpora for given models: the documents of `corpora`, in the tokens of a tokenizer that is there already."""

import dataclasses
from pathlib import Path

import numpy as np

from unifeat.lineage.given_tokenizers import spell
from unifeat.text import corpora


def build(config, texts: dict, tokenizer, folder: Path, downloads: Path) -> None:
    """Write what `corpora.build` writes into `folder`, in the tokens of `tokenizer` (see `given_tokenizers.tokenizer`).

    Raises:
        CorpusError: text that cannot be fetched or read, or too little of it.
        ModelsError: a tokenizer of which it is not known how its tokens spell bytes.
    """
    spell(tokenizer)
    corpora.build(config, texts, folder, downloads, tokenizer)


def load(folder: Path) -> corpora.Corpus:
    """What `build` wrote; token names are given in byte-level BPE's spelling, whatever the tokenizer's own."""
    corpus = corpora.load(folder)
    names = spell(corpus.tokenizer)

    def convert(ids, **_):
        return names[ids] if isinstance(ids, int) else [names[i] for i in ids]

    corpus.tokenizer.convert_ids_to_tokens = convert  # all that `bpe.token_text` asks for
    sizes = np.array([0] + [len(name) for name in names[1:]])
    return dataclasses.replace(corpus, token_bytes=sizes)
