"""Corpora for given models: the documents of `corpora`, in the tokens of a tokenizer that is there already."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from unifeat import bpe, corpora
from unifeat.owntokens import spell
from unifeat.profiles import DOMAINS
from unifeat.sources import documents


def build(config, tokenizer, folder: Path, downloads: Path) -> None:
    """Write what `corpora.build` writes into `folder`, in the tokens of `tokenizer` (see `owntokens.tokenizer`).

    Raises:
        CorpusError: text that cannot be fetched or read, or too little of it.
        ModelsError: a tokenizer of which it is not known how its tokens spell bytes.
    """
    spell(tokenizer)
    tokenizer.save_pretrained(folder / "tokenizer")
    rows = []
    for domain in DOMAINS:
        found = documents(domain, config, Path(downloads))
        kept, dropped = corpora.select(domain, [source.texts for source in found], config)
        for split in corpora.SPLITS:
            here = [corpora._row(domain, split, number, source, kept, dropped) for number, source in enumerate(found)]
            docs = [doc for doc in kept if doc.split == split]
            if split == "train":
                docs = [docs[i] for i in np.random.default_rng(config.seed).permutation(len(docs))]
            stream, lengths = bpe.pack(tokenizer.backend_tokenizer, [doc.text for doc in docs])
            np.save(folder / f"{domain}.{split}.npy", stream)
            for length, doc in zip(lengths, docs, strict=True):
                here[doc.source]["tokens"] += length
            rows += here
    facts = dict(source=config.source, context=config.context, vocab=len(tokenizer), rows=rows)
    (folder / "corpora.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> corpora.Corpus:
    """What `build` wrote; token names are given in byte-level BPE's spelling, whatever the tokenizer's own."""
    corpus = corpora.load(folder)
    names = spell(corpus.tokenizer)

    def convert(ids, **_):
        return names[ids] if isinstance(ids, int) else [names[i] for i in ids]

    corpus.tokenizer.convert_ids_to_tokens = convert  # all that `bpe.token_text` asks for
    sizes = np.array([0] + [len(name) for name in names[1:]])
    return dataclasses.replace(corpus, token_bytes=sizes)
