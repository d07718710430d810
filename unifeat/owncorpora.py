"""Corpora for given models: the documents of `corpora`, in the tokens of a tokenizer that is there already."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np

from unifeat import corpora
from unifeat.ownmodels import ModelsError
from unifeat.profiles import DOMAINS
from unifeat.sources import documents

BYTE_NAMES = {byte: char for char, byte in corpora._BYTES.items()}  # how byte-level BPE writes each byte


def build(config, tokenizer, folder: Path, downloads: Path) -> None:
    """Write what `corpora.build` writes into `folder`, in the tokens of `tokenizer` (see `ownmodels.tokenizer`).

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
            stream, lengths = corpora.pack(tokenizer.backend_tokenizer, [doc.text for doc in docs])
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

    corpus.tokenizer.convert_ids_to_tokens = convert  # all that `corpora.token_text` asks for
    sizes = np.array([0] + [len(name) for name in names[1:]])
    return dataclasses.replace(corpus, token_bytes=sizes)


def spell(tokenizer) -> list[str]:
    """Every token's name in the spelling of byte-level BPE: one character a byte (see `corpora.token_text`).

    Sentencepiece writes a space as ▁ and a byte as <0xNN>; its space before the first word of a text counts as one.

    Raises:
        ModelsError: the tokenizer is of neither kind.
    """
    facts = json.loads(tokenizer.backend_tokenizer.to_str())
    added, decoder = {token["id"]: token["content"] for token in facts["added_tokens"]}, json.dumps(facts["decoder"])
    if '"ByteLevel"' not in decoder and "\\u2581" not in decoder:
        raise ModelsError("The given models' tokenizer spells its tokens neither as bytes (like GPT-2's) nor as pieces "
                          "(like Llama's and Mistral's); others cannot be read here.")
    numbers = tokenizer.get_vocab()
    return [_bytes(added[numbers[name]].encode()) if numbers[name] in added else
            name if '"ByteLevel"' in decoder else _bytes(_piece(name)) for name in sorted(numbers, key=numbers.get)]


def _bytes(data: bytes) -> str:
    return "".join(BYTE_NAMES[byte] for byte in data)


def _piece(name: str) -> bytes:
    r"""The bytes of a sentencepiece token.

    >>> _piece("▁the"), _piece("<0x0A>")
    (b' the', b'\n')
    """
    found = re.fullmatch(r"<0x([0-9A-F]{2})>", name)
    return bytes([int(found[1], 16)]) if found else name.replace("▁", " ").encode()
