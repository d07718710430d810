"""Small texts and models made on the spot, in place of a reader's own: what the guide notebook runs on."""

import dataclasses
import json
import random
import sys
import tempfile
from pathlib import Path

from unifeat import lm
from unifeat.lineage import settings
from unifeat.lineage.settings import DOMAINS
from unifeat.lm import training
from unifeat.support import paths, store
from unifeat.text import corpora

BYTES = 400_000  # of text per domain
WORDS = {
    "english": "the a of and in is was river city people old new large first century known island north song school",
    "python": "def return self import for in if not None True False x y name value ( ) : = . , [ ] print len",
    "stories": "once upon a time there lived little girl boy said went home mother happy dog big tree saw and the",
    "lua": "local function end then if nil x y name value ( ) = .. , { } pairs ipairs return print do for in",
}


def make(profile: str = "smoke") -> Path:
    """A folder with text/ (four domains), base/ (a GPT-2 of two layers) and tuned/ (its fine-tune on text/lua)."""
    p = settings.load(profile)
    config = [p.corpora, p.model, p.base, p.lua]
    return store.make(paths.store(), "toys", lambda folder: _build(p, folder), config=config,
                      code=store.code_version(corpora, lm, training, sys.modules[__name__])).folder


def _build(p: settings.Profile, folder: Path) -> None:
    (folder / "text").mkdir()
    for domain in DOMAINS:
        rows = (json.dumps(dict(text=text)) for text in texts(domain))
        (folder / "text" / f"{domain}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as work:
        config = dataclasses.replace(p.corpora, source="files", folder=str(folder / "text"), vocab=400)
        corpora.build(config, Path(work), paths.downloads())
        corpus = corpora.load(Path(work))
        model = _network(p, len(corpus.tokenizer))
        for name, settings in (("base", p.base), ("tuned", p.lua)):
            training.train(model, {d: corpus.blocks(d, "train") for d in settings.domains}, settings, {}, name)
            lm.save(model, corpus.tokenizer, folder / name)


def texts(domain: str) -> list[str]:
    """Documents of a domain: its words in random order, some more often than others, in lines."""
    rng, words = random.Random(domain), WORDS[domain].split()
    chances = [1 / (rank + 2) for rank in range(len(words))]
    out, size = [], 0
    while size < BYTES:
        lines = (" ".join(rng.choices(words, chances, k=rng.randint(4, 12))) for _ in range(40))
        out.append("\n".join(lines))
        size += len(out[-1])
    return out


def _network(p: settings.Profile, vocab: int):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(p.model.seed)
        return GPT2LMHeadModel(GPT2Config(
            vocab_size=vocab, n_positions=p.corpora.context, n_embd=p.model.d_model, n_inner=p.model.d_mlp, n_layer=2,
            n_head=p.model.heads, bos_token_id=0, eos_token_id=0, attn_implementation=lm.attention())).eval()
