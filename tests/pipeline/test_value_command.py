"""`unifeat value train` and `apply`, from folders and a text to a lower loss."""

import re

import networks
import pytest
import tiny
from transformers import LlamaConfig

from unifeat import __main__ as command
from unifeat import lm
from unifeat.text import bpe

TEXTS = [text for some in tiny.texts().values() for text in some]


def model(folder, vocab, seed=0):
    tokenizer = bpe.wrap(bpe.train(TEXTS, vocab), 32)
    config = LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                         max_position_embeddings=32, vocab_size=len(tokenizer))
    lm.save(networks.network(config, seed).eval(), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A base, another model of its tokenizer, one of another tokenizer, a text and a trained value network."""
    root = tmp_path_factory.mktemp("value")
    text = tiny.text(root / "text") / "lua"
    for name, vocab, seed in (("base", 300, 0), ("other", 300, 1), ("small", 280, 2)):
        model(root / name, vocab, seed)
    assert command.main(["value", "train", str(root / "base"), "--text", str(text), "--to", str(root / "value"),
                         "--norm", "0", "--tokens", "40000", "--lr", "0.01", "--batch", "8"]) == 0
    return root, text


def both(said: str) -> list[float]:
    return [float(one) for one in re.search(r"Loss ([\d.]+) nats a token with it, ([\d.]+) without", said).groups()]


@pytest.mark.parametrize(("name", "more"), [("base", []), ("other", []), ("small", ["--map"])])
def test_a_value_network_lowers_the_loss_of_every_model(world, capsys, name, more):
    root, text = world
    assert command.main(["value", "apply", str(root / "value"), "--model", str(root / name), "--text", str(text),
                         "--prompt", "local x", *more]) == 0
    said = capsys.readouterr().out
    with_it, alone = both(said)
    assert with_it < alone - (0.1 if more else 0.5)
    assert "alone: " in said and "with it: " in said


def test_bad_input_is_one_sentence(world, capsys):
    root, text = world
    value, base, small = (str(root / name) for name in ("value", "base", "small"))
    short = root / "short.txt"
    short.write_text("local x")
    for arguments, sentence in (
            (["apply", value, "--model", small, "--text", str(text)], "different tokenizers; --map carries"),
            (["apply", base, "--model", base, "--text", str(text)], "holds no value network"),
            (["apply", value, "--model", base, "--text", str(short)], "give more text or a smaller --context"),
            (["train", base, "--text", str(text), "--to", value], "is not empty; name a new folder"),
            (["train", base, "--text", str(text), "--to", str(root / "n"), "--norm", "-1"], "choose 0 or more"),
            (["train", base, "--text", str(text), "--to", str(root / "n"), "--lr", "0"], "must be above 0"),
            (["train", base, "--text", str(text), "--to", str(root / "n"), "--start", small], "another tokenizer than"),
            (["train", base, "--text", str(root / "none"), "--to", str(root / "n")], "does not exist")):
        assert command.main(["value", *arguments]) == 2, arguments
        said = capsys.readouterr().err.strip().splitlines()
        assert sentence in said[-1], said
    assert not (root / "n").exists()
