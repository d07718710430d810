"""Models of other shapes: what they are to tell, by hand; and Evolver on them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from unifeat.merging import evolver, zoo
from unifeat.merging.evolver import Evolution
from unifeat.studies import merge_shapes
from unifeat.studies.merge_shapes import MASKED, SHAPES

VOCAB, CONTEXT = 40, 32


def blocks(n=64, seed=0):
    """Texts in which the next token is the last one plus 1 or 2."""
    rng = np.random.default_rng(seed)
    return 1 + (rng.integers(VOCAB, size=(n, 1)) + rng.integers(1, 3, (n, CONTEXT)).cumsum(1)) % (VOCAB - 1)


def test_spans_left_out_put_back_give_the_text():
    text = blocks(8)
    out = merge_shapes.denoising(text, VOCAB, np.random.default_rng(0))
    for row, shown, told in zip(text, out["input_ids"].tolist(), out["labels"].tolist(), strict=True):
        spans = {}
        for token in told:
            if token >= VOCAB:
                spans[mark := token] = []
            else:
                spans[mark].append(token)
        back = [part for token in shown for part in (spans[token] if token >= VOCAB else [token])]
        assert back == row.tolist() and spans[max(spans)] == []
        assert len(spans) - 1 == merge_shapes.spans(CONTEXT) and sum(map(len, spans.values())) == round(0.15 * CONTEXT)


def test_masked_tokens_are_a_share_and_mostly_hidden():
    text = blocks(2000)
    out = {name: value.numpy() for name, value in merge_shapes.masked(text, VOCAB, np.random.default_rng(0)).items()}
    chosen = out["labels"] != -100
    assert chosen.mean() == pytest.approx(MASKED, abs=0.005) and (out["labels"][chosen] == text[chosen]).all()
    assert (out["input_ids"][~chosen] == text[~chosen]).all()
    assert (out["input_ids"][chosen] == VOCAB).mean() == pytest.approx(0.8, abs=0.02)
    assert (out["input_ids"][chosen] == text[chosen]).mean() == pytest.approx(0.1 + 0.1 / VOCAB, abs=0.02)


def test_the_loss_is_cross_entropy_of_what_is_to_be_told_and_nothing_else():
    torch.manual_seed(0)
    text, rng = blocks(4), np.random.default_rng(0)
    for name, shape in SHAPES.items():
        model, batch = shape.model(VOCAB, CONTEXT).eval(), shape.batch(text, VOCAB, rng)
        with torch.no_grad():
            logits, labels = model(**batch).logits, batch["labels"]
        if name == "decoder":
            logits, labels = logits[:, :-1], labels[:, 1:]
        want = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        assert merge_shapes.loss(model, model.state_dict(), [[batch]]) == pytest.approx(float(want), rel=1e-5), name


@pytest.mark.parametrize("name", SHAPES)
def test_evolver_merges_models_of_every_shape_and_is_no_worse_than_what_it_starts_from(name):
    shape = SHAPES[name]
    torch.manual_seed(0)
    model = shape.model(VOCAB, CONTEXT)
    root = merge_shapes.trained(model, shape, blocks(), VOCAB, 4_000, 0)
    children = []
    for seed in (1, 2):
        model.load_state_dict(root)
        children.append(merge_shapes.trained(model, shape, blocks(seed=seed), VOCAB, 4_000, seed))
    assert any(not torch.equal(root[key], children[0][key]) for key in root)
    batches = [[shape.batch(blocks(8, 3), VOCAB, np.random.default_rng(0))]]

    def fitness(state):
        return -merge_shapes.loss(model, state, batches)

    members = [root, *children, zoo.linear(children)]
    found = evolver.evolve(members, fitness, Evolution("code", generations=2))
    assert found.score >= max(map(fitness, members)) and found.score == pytest.approx(fitness(found.state))
    tied = [keys for keys in (("lm_head.weight", "transformer.wte.weight"), ("shared.weight", "lm_head.weight"),
                              ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"))
            if all(key in root for key in keys)]
    assert tied and all(torch.equal(found.state[a], found.state[b]) for a, b in tied)
