"""A lineage and four domains of text whose whole pipeline takes seconds."""

import random
from pathlib import Path

SIZES = """extends = "smoke"

[corpora]
source = "files"
vocab = 300
context = 32
validation_share = 0.3
tokenizer_bytes = 20_000
max_bytes = 0

[model]
d_model = 16
d_mlp = 32
heads = 2
kv_heads = 1

[train]
tokens = 12_800
batch = 8
warmup = 2
evaluations = 2

[finetune]
tokens = 12_800
batch = 8
warmup = 2
evaluations = 2

[evaluation]
tokens = 640
ngram = 2

[merge]
points = 3

[sae]
width = 48
k = 4
tokens = 8_000
buffer = 4_000
batch = 200
warmup = 2
dead_after = 2_000

[comparison]
tokens = 640
min_fires = 5
bootstrap = 5

[studies]
doses = [3.0]
seeds = [0]
checkpoints = [0, 8, 50]
tune_tokens = 2_560
search_tokens = 64
search_budget = 12
"""
WORDS = {"english": "the a city river was in of old new large known people",
         "python": "def return self import if x y ( ) : =",
         "stories": "once upon a time there lived little girl said and went home é",
         "lua": "local function end then x y ( ) = if nil"}


def lineage(path: Path, more: str = "", folder: Path | str = "") -> Path:
    """The shipped models and domains at SIZES, and what the TOML `more` says beside or instead, as the file `path`.

    folder: of the domains' text, where `more` does not say it.
    """
    sizes = SIZES.replace("[corpora]", f'[corpora]\nfolder = "{folder}"')
    path.write_text(f"{sizes}\n{more}", encoding="utf-8")
    return path


def texts(words: dict[str, str] = WORDS) -> dict[str, list[str]]:
    """Documents by domain: its words in random order."""
    rng = random.Random(0)
    return {domain: [" ".join(rng.choices(some.split(), k=220)) for _ in range(24)] for domain, some in words.items()}


def text(folder: Path, words: dict[str, str] = WORDS) -> Path:
    """The `texts` as files, a subfolder per domain."""
    for domain, documents in texts(words).items():
        (folder / domain).mkdir(parents=True)
        for i, document in enumerate(documents):
            (folder / domain / f"{i}.txt").write_text(document)
    return folder


def make(folder: Path) -> tuple[str, str]:
    """A lineage and a folder of text in `folder`, as `open_run` takes them."""
    return str(lineage(folder / "tiny.toml")), str(text(folder / "text"))
