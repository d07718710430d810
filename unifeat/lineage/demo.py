"""Small texts and models made on the spot, in place of a reader's own: what the guide notebook runs on."""

import dataclasses
import json
import random
import tempfile
from pathlib import Path

from unifeat import lm
from unifeat.lineage.lineage import Lineage
from unifeat.lineage.reading import read
from unifeat.lineage.settings import Text
from unifeat.lm import training
from unifeat.support import code, paths, store
from unifeat.text import corpora

BYTES = 400_000  # of text per domain
HOOK = "blocks.1.mlp.hook_post"  # where the SAEs of the guide read
WORDS = {
    "x": "the a of and in is was river city people old new large first century known island north song school",
    "y": "local function end then if nil name value ( ) = .. , { } pairs ipairs return print do for in",
}
LINEAGE = """# Three models on two domains: two that are there already, and one that is fine-tuned here from the first.
extends = "smoke"

[text.x]
source = "files"
path = "text/x.jsonl"

[text.y]
source = "files"
path = "text/y.jsonl"

[models.a]
given = "a"
text = ["x"]

[models.b]
parent = "a"
given = "b"
text = ["y"]

[models.c]
parent = "a"
finetune = { text = ["x", "y"], tokens = 60_000 }
"""


def make(lineage: str = "smoke") -> Path:
    """A folder with text/ (domains x and y), a/ (a GPT-2 of two layers), b/ (its fine-tune on y) and mine.toml, a
    lineage
    of a, b and a third model c. The models have the sizes of `lineage`."""
    p = read(lineage)
    config = [p.corpora, p.model, *_trainings(p)]
    return store.make(paths.store(), "demo", lambda folder: _build(p, folder), config=config,
                      code=code.version(_build)).folder


def _trainings(p: Lineage) -> list:
    """How a and b are trained: as the lineage's first model that is trained from scratch, and its first fine-tune."""
    members = p.models.values()
    return [dataclasses.replace(next(filter(None, (getattr(one, way) for one in members))), text=(domain,),
                                weights=(1.0,))
            for way, domain in (("train", "x"), ("finetune", "y"))]


def _build(p: Lineage, folder: Path) -> None:
    (folder / "text").mkdir()
    for domain in WORDS:
        rows = (json.dumps(dict(text=text)) for text in texts(domain))
        (folder / "text" / f"{domain}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "mine.toml").write_text(LINEAGE, encoding="utf-8")
    with tempfile.TemporaryDirectory() as work:
        config = dataclasses.replace(p.corpora, source="files", folder=str(folder / "text"), vocab=400)
        corpora.build(config, {domain: Text() for domain in WORDS}, Path(work), paths.downloads())
        corpus = corpora.load(Path(work))
        model = _network(p, len(corpus.tokenizer))
        for name, settings in zip(("a", "b"), _trainings(p), strict=True):
            training.train(model, {d: corpus.blocks(d, "train") for d in settings.text}, settings, {}, name)
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


def _network(p: Lineage, vocab: int):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(p.model.seed)
        return GPT2LMHeadModel(GPT2Config(
            vocab_size=vocab, n_positions=p.corpora.context, n_embd=p.model.d_model, n_inner=p.model.d_mlp, n_layer=2,
            n_head=p.model.heads, bos_token_id=0, eos_token_id=0, attn_implementation=lm.kernel())).eval()
