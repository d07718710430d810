"""Small models and text for tracks that take seconds; all of a session share one store."""

import json
import random
from pathlib import Path

import networks
import pytest
import torch

NASTY = ["<script>alert(1)</script>", "</style>", "&amp;", "$$x$$", "漢字", "\x07", "\u202e", "💥", "]]>", '"a"', "é"]


def documents(domain: str, count: int = 30) -> list[str]:
    """Documents of a domain: a few words in random order, and what breaks pages."""
    rng, words = random.Random(domain), [f"{domain}{i}" for i in range(6)] + ["the", "of", "and", "in", "city", "river"]
    return [" ".join(rng.choices([*words, *NASTY], [3] * len(words) + [0.3] * len(NASTY), k=260)) for _ in range(count)]


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A folder with two domains of text, one of them with a name that cannot be a file's everywhere."""
    root = tmp_path_factory.mktemp("text")
    for folder, domain in (("plain", "x"), ("the 'other' 💥", "y")):
        (root / folder).mkdir()
        rows = "".join(json.dumps(dict(text=one)) + "\n" for one in documents(domain))
        (root / folder / "all.jsonl").write_text(rows)
    return root


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    """GPT-2s: base; a copy of its folder; permuted (base with its neurons in another order); other (random weights).

    Of another family: mistral.
    """
    root, config, tokens = tmp_path_factory.mktemp("models"), networks.CONFIGS["gpt2"], networks.byte_level()
    base, out = networks.network(config), {}
    for name, model in (("base", base), ("copy", base), ("other", networks.network(config, 1))):
        out[name] = networks.put(root / name, model, tokens)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    for block in base.transformer.h:
        mlp = block.mlp
        for value in (mlp.c_fc.weight, mlp.c_fc.bias):
            value.data = value.data[..., order]
        mlp.c_proj.weight.data = mlp.c_proj.weight.data[order]
    out["permuted"] = networks.put(root / "permuted", base, tokens)
    out["mistral"] = networks.put(root / "mistral", networks.network(networks.CONFIGS["mistral"]), networks.pieces())
    return out


@pytest.fixture(scope="session")
def kept(tmp_path_factory) -> Path:
    """The store that all tracks of the session share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(kept, monkeypatch) -> Path:
    """The session's store, in use."""
    monkeypatch.setenv("UNIFEAT_STORE", str(kept))
    return kept
