"""Losses of a language model against Hugging Face, and text sampled from it."""

import math
import sys

import numpy as np
import patches
import pytest
import torch

from unifeat import lineage, lm
from unifeat.text import bpe


@pytest.fixture(scope="module")
def model():
    return lm.build(lineage.read("smoke").model, 300, 32)


def rows(n=3):
    return np.random.default_rng(0).integers(1, 260, (n, 32))


def test_loss_accuracy_and_bits_per_byte_equal_hugging_face_by_hand(model, monkeypatch):
    patches.float32(monkeypatch)
    tokens, sizes = rows(), np.arange(300)
    out = lm.evaluate(model, tokens, sizes)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(tokens)).logits[:, :-1].double().log_softmax(-1)
    targets = torch.tensor(tokens)[:, 1:]
    nats = -logits.gather(-1, targets[..., None]).sum().item()
    assert out["tokens"] == 3 * 31 and out["loss_nats"] == pytest.approx(nats / 93, rel=1e-5)
    assert out["accuracy"] == pytest.approx((logits.argmax(-1) == targets).double().mean().item())
    assert out["bits_per_byte"] == pytest.approx(nats / math.log(2) / tokens[:, 1:].sum(), rel=1e-5)


@pytest.mark.parametrize(("batch", "chunk"), [(1, 1024), (2, 7), (32, 50)])
def test_the_sizes_of_batches_and_chunks_change_no_loss(model, monkeypatch, batch, chunk):
    patches.float32(monkeypatch)
    whole = lm.evaluate(model, rows(5))
    monkeypatch.setattr(sys.modules["unifeat.lm.evaluate"], "CHUNK", chunk)
    found = lm.evaluate(model, rows(5), batch=batch)
    assert found["tokens"] == whole["tokens"] == 5 * 31 and found["accuracy"] == whole["accuracy"]
    assert found["loss_nats"] == pytest.approx(whole["loss_nats"], rel=1e-6)


def test_sample_is_seeded(model):
    tokenizer = bpe.wrap(bpe.train(["some text to train a tokenizer on " * 20], 300), 32)
    texts = [lm.sample(model, tokenizer, "some", 40, seed) for seed in (0, 0, 1)]  # more tokens than a context holds
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("some")
