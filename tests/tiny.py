"""A profile and four domains of text whose whole pipeline takes seconds."""

import random
import re
from pathlib import Path

from unifeat.lineage import settings

CHANGES = {
    "corpora": dict(vocab=300, context=32, validation_share=0.3, tokenizer_bytes=20_000, max_bytes=0),
    "model": dict(d_model=16, d_mlp=32, heads=2, kv_heads=1),
    **{name: dict(tokens=12_800, batch=8, warmup=2, evaluations=2) for name in ("base", "lua", "stories")},
    "evaluation": dict(tokens=640, ngram=2),
    "merge": dict(points=3),
    "sae": dict(width=48, k=4, tokens=8_000, buffer=4_000, batch=200, warmup=2, dead_after=2_000),
    "probe": dict(tokens=640, min_fires=5, bootstrap=5),
}
WORDS = {"english": "the a city river was in of old new large known people",
         "python": "def return self import if x y ( ) : =",
         "stories": "once upon a time there lived little girl said and went home é",
         "lua": "local function end then x y ( ) = if nil"}


def profile(path: Path) -> Path:
    """The smoke profile with the values of CHANGES, as the file `path`."""
    sections = re.split(r"(?m)^(?=\[)", (settings.FOLDER / "smoke.toml").read_text())
    for i, section in enumerate(sections):
        for key, value in CHANGES.get(section[1:section.find("]")], {}).items():
            sections[i], found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", sections[i])
            assert found == 1
    path.write_text("".join(sections))
    return path


def texts() -> dict[str, list[str]]:
    """Documents by domain: its words in random order."""
    rng = random.Random(0)
    return {domain: [" ".join(rng.choices(words.split(), k=220)) for _ in range(24)]
            for domain, words in WORDS.items()}


def text(folder: Path) -> Path:
    """The `texts` as files, a subfolder per domain."""
    for domain, documents in texts().items():
        (folder / domain).mkdir(parents=True)
        for i, document in enumerate(documents):
            (folder / domain / f"{i}.txt").write_text(document)
    return folder


def make(folder: Path) -> tuple[str, str]:
    """A profile and a folder of text in `folder`, as `stages.open_run` takes them."""
    return str(profile(folder / "tiny.toml")), str(text(folder / "text"))
