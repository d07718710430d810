"""Documents to tokens: clean-up, near-duplicates, the split, packed streams.

`build` writes, per domain and split, one stream of token numbers in which the special token opens every
document; `load` maps them into memory. Where the documents come from is the matter of `sources`, how text becomes
tokens that of `bpe`.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unifeat.support import import_lock, pretrained
from unifeat.text import bpe
from unifeat.text.bpe import EOS
from unifeat.text.deduplicate import distinct
from unifeat.text.files import CorpusError
from unifeat.text.sources import documents

SPLITS = ("train", "validation")
MIN_BYTES = 200  # shorter documents are dropped
COMMENT = {  # by language: a block of comment lines and the blank lines around it
    "python": re.compile(r"\s*(?:#[^\n]*\n)+\n*"),
    "lua": re.compile(r"\s*(?:--(?:\[\[.*?\]\]|[^\n]*)[ \t]*\n)+\n*", re.DOTALL),
}
LICENCE = re.compile(r"licen[cs]e|copyright|\bMIT\b", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """One text with its bytes, the place of its source in the list, its split and its place in hash order."""

    text: str
    bytes: int
    source: int
    split: str
    order: bytes


@dataclass(frozen=True, eq=False)
class Corpus:
    """Packed tokens of all domains, memory-mapped from `folder`."""

    folder: Path
    tokenizer: object = field(repr=False)  # transformers.PreTrainedTokenizerFast
    rows: list = field(repr=False)  # provenance and counts, one dict per domain, split and source
    context: int  # tokens per block
    token_bytes: np.ndarray = field(repr=False)  # (vocab,) bytes of text that each token stands for

    def tokens(self, domain: str, split: str) -> np.ndarray:
        """The stream of `domain` and `split` (train or validation): (tokens,), documents opened by EOS."""
        return np.load(self.folder / f"{domain}.{split}.npy", mmap_mode="r", allow_pickle=False)

    def blocks(self, domain: str, split: str) -> np.ndarray:
        """The same as (blocks, context), the tail dropped; a block starts wherever the stream falls."""
        stream = self.tokens(domain, split)
        return stream[:len(stream) // self.context * self.context].reshape(-1, self.context)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains in their order."""
        return tuple(dict.fromkeys(row["domain"] for row in self.rows))

    def stats(self):
        """The rows as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows)


def build(config, texts: dict, folder: Path, downloads: Path, tokenizer=None) -> None:
    """Write tokenizer/, <domain>.<split>.npy and corpora.json into `folder`.

    config: settings.Corpora; texts: settings.Text by domain; downloads: folder that keeps the pinned archives;
    tokenizer: the one to pack with (transformers.PreTrainedTokenizerFast, token 0 opening a document), None to train
    one on the text.

    Raises:
        CorpusError: text that cannot be fetched or read, or too little of it.
    """
    folder, kept, rows = Path(folder), {}, []
    for domain, text in texts.items():
        found = documents(domain, text, config, Path(downloads))
        kept[domain], dropped = select(domain, [source.texts for source in found], config, text.language)
        rows += [_row(domain, split, number, source, kept[domain], dropped)
                 for number, source in enumerate(found) for split in SPLITS]
        size = sum(doc.bytes for doc in kept[domain]) / 1e6
        print(f"{domain:8} {len(kept[domain]):6,} documents {size:7.2f} MB  "
              f"{'; '.join(source.label for source in found)}", flush=True)
    if tokenizer is None:
        tokenizer = bpe.wrap(bpe.train(_sample(kept, config.tokenizer_bytes), config.vocab), config.context)
    tokenizer.save_pretrained(folder / "tokenizer")
    for domain in texts:
        for split in SPLITS:
            docs = [doc for doc in kept[domain] if doc.split == split]
            if split == "train":
                docs = [docs[i] for i in np.random.default_rng(config.seed).permutation(len(docs))]
            stream, lengths = bpe.pack(tokenizer.backend_tokenizer, [doc.text for doc in docs])
            np.save(folder / f"{domain}.{split}.npy", stream)
            here = [row for row in rows if (row["domain"], row["split"]) == (domain, split)]  # one per source
            for length, doc in zip(lengths, docs, strict=True):
                here[doc.source]["tokens"] += length
    facts = dict(context=config.context, vocab=len(tokenizer), rows=rows)
    (folder / "corpora.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _row(domain: str, split: str, number: int, source, docs: list, dropped: dict) -> dict:
    """Provenance and counts of one source in one split; the tokens are added once they are known."""
    mine = [doc for doc in docs if (doc.source, doc.split) == (number, split)]
    return dict(domain=domain, split=split, source=source.label, package=source.package,
                version=source.version, sha256=source.sha256, licence=source.licence, documents=len(mine),
                bytes=sum(doc.bytes for doc in mine), tokens=0, duplicates=dropped.get((number, split), 0))


def load(folder: Path) -> Corpus:
    """What `build` wrote into `folder`.

    Raises:
        CorpusError: a file is missing or unreadable.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "corpora.json").read_text(encoding="utf-8"))
        with import_lock.LOCK:
            from transformers import PreTrainedTokenizerFast

            tokenizer = pretrained.load(PreTrainedTokenizerFast, folder / "tokenizer")
        corpus = Corpus(folder, tokenizer, facts["rows"], facts["context"], bpe.token_bytes(tokenizer))
        for domain in corpus.domains:
            for split in SPLITS:
                corpus.tokens(domain, split)
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{folder} does not hold complete corpora ({error}); delete it and run "
                          "again.") from error
    return corpus


# Choice of documents ------------------------------------------------------------------------------

def clean(text: str, language: str = "") -> str:
    r"""Unix line ends, no NUL at the end, and in code no licence comments at the top.

    Licence headers are the same in hundreds of files: a model, and its features, would be judged on them.

    >>> clean("a\r\nb\0")
    'a\nb'
    >>> clean("# Copyright 2020\n# MIT\n\nimport os\n", "python")
    'import os\n'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\0")
    start = end = 0
    while language in COMMENT and (block := COMMENT[language].match(text, start)):
        start = block.end()
        if LICENCE.search(block.group()):
            end = start
    return text[end:]


def select(domain: str, texts: list[list[str]], config, language: str = "") -> tuple[list[Document], dict]:
    """Documents to keep, in hash order, and the number of near-duplicates dropped by (source, split).

    texts: one list per source; language: as for `clean`. Split and order are two halves of one hash of the text, so
    neither depends on the order in which documents arrive, and config.max_bytes takes the same documents every time.
    Near-duplicates go before the split, so none stands across it.

    Raises:
        CorpusError: fewer than two documents are left.
    """
    pool = {}
    for source, many in enumerate(texts):
        for text in many:
            text = clean(text, language)
            data = text.encode("utf-8", "surrogatepass")
            if len(data) >= MIN_BYTES and text.strip():
                mark = hashlib.blake2b(data, digest_size=16).digest()
                split = SPLITS[int.from_bytes(mark[:8], "big") < config.validation_share * 2**64]
                pool.setdefault(mark[8:], []).append(Document(text, len(data), source, split, mark[8:]))
    docs, dropped = [], {}
    for mark in sorted(pool):
        docs.append(pool[mark][0])
        for copy in pool[mark][1:]:
            dropped[copy.source, copy.split] = dropped.get((copy.source, copy.split), 0) + 1
    if config.max_bytes:
        sizes = np.cumsum([doc.bytes for doc in docs])
        docs = docs[:int(np.searchsorted(sizes, config.max_bytes)) + 1]
    keep = distinct([doc.text for doc in docs])
    for doc, kept in zip(docs, keep, strict=True):
        if not kept:
            dropped[doc.source, doc.split] = dropped.get((doc.source, doc.split), 0) + 1
    docs = [doc for doc, kept in zip(docs, keep, strict=True) if kept]
    if len(docs) < 2:
        raise CorpusError(f"The {domain} corpus has {len(docs)} document{'s' * (len(docs) != 1)} of at least "
                          f"{MIN_BYTES} bytes that differ from each other, so it cannot be split into "
                          "training and validation; give it at least two, in separate files or rows.")
    return _both_splits(docs), dropped


def _both_splits(docs: list[Document]) -> list[Document]:
    """The documents with at least one in each split: in a tiny corpus the first by hash may change sides."""
    for split in SPLITS:
        if all(doc.split == split for doc in docs):
            other = SPLITS[split == "train"]
            return [Document(docs[0].text, docs[0].bytes, docs[0].source, other, docs[0].order), *docs[1:]]
    return docs


def _sample(kept: dict, limit: int) -> list[str]:
    """Training text for the tokenizer: per domain, documents in hash order until `limit` bytes."""
    texts = []
    for docs in kept.values():
        train = [doc for doc in docs if doc.split == "train"]
        count = int(np.searchsorted(np.cumsum([doc.bytes for doc in train]), limit)) + 1
        texts += [doc.text for doc in train[:count]]
    return texts


def overlap(corpus: Corpus, domain: str, n: int = 13) -> float:
    """Share of the validation windows of n tokens (within one document) that also occur in training text."""
    train, held = (corpus.tokens(domain, split) for split in SPLITS)
    known, place = np.unique(_windows(held, n), return_inverse=True)
    if not len(known):
        return 0.0
    seen, likely = np.zeros(len(known), bool), np.zeros(2**24, bool)
    likely[known >> np.uint64(40)] = True  # by their first bits: few training windows are worth a search
    for start in range(0, len(train), 2**18):
        runs = _windows(train[start:start + 2**18 + n - 1], n)
        runs = runs[likely[runs >> np.uint64(40)]]
        at = np.minimum(np.searchsorted(known, runs), len(known) - 1)
        seen[at[known[at] == runs]] = True
    return float(seen[place].mean())


def _windows(stream: np.ndarray, n: int) -> np.ndarray:
    """Hashes of the runs of n tokens without EOS: (runs,) uint64."""
    runs = max(0, len(stream) - n + 1)
    total, whole = np.zeros(runs, np.uint64), np.ones(runs, bool)
    for i in range(n):
        total = total * np.uint64(0x9E3779B97F4A7C15) + stream[i:i + runs]
        whole &= stream[i:i + runs] != EOS
    return total[whole]
