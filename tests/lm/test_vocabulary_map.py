"""A value network carried to another vocabulary: the alignment by hand, and no change where nothing changes."""

import itertools

import networks
import numpy as np
import pytest
import tiny
import torch
from scipy import sparse

from unifeat.lm import value_network, vocabulary_map
from unifeat.lm.hooks import ModelError
from unifeat.lm.value_logits import ValueLogits
from unifeat.text import bpe

SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
             max_position_embeddings=64)
TEXTS = [text for some in tiny.texts().values() for text in some[:4]]


def shortest(cost):
    """The least summed cost of all paths, tried one by one."""
    def of(i, j):
        steps = [(i + down, j + right) for down, right in ((1, 0), (0, 1), (1, 1))
                 if i + down < len(cost) and j + right < len(cost[0])]
        return cost[i][j] + min((of(*step) for step in steps), default=0.0)
    return of(0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_cheapest_of_all(seed):
    rng = np.random.default_rng(seed)
    cost = rng.random((rng.integers(1, 5), rng.integers(1, 5)))
    path = vocabulary_map.align(cost)
    assert path[0] == (0, 0) and path[-1] == (cost.shape[0] - 1, cost.shape[1] - 1)
    assert all(0 <= i - a <= 1 and 0 <= j - b <= 1 and (i, j) != (a, b) for (a, b), (i, j) in itertools.pairwise(path))
    assert sum(cost[i, j] for i, j in path) == pytest.approx(shortest(cost.tolist()))


def test_a_part_costs_a_tenth():
    assert vocabulary_map.costs(["the"], ["the", "e", "cat"]).tolist() == [[0.0, pytest.approx(0.2), 3.0]]


def test_columns_are_stretched_before_the_best_is_taken():
    # row means 2 and 4/3: the columns are [0, 2/3], [3, -4/3], [-2 .., 2/3]; stretched [0 1], [1 0], [0 1]
    table = sparse.csr_matrix(np.array([[2.0, 5.0, 0.0], [2.0, 0.0, 2.0]]))
    assert vocabulary_map.partners(table).tolist() == [1, 0]
    many = sparse.random(40, 700, 0.1, random_state=0, format="csr")
    dense = many.toarray() - many.toarray().mean(1, keepdims=True)
    span = dense.max(0) - dense.min(0)
    stretched = np.where(many.toarray() > 0, (dense - dense.min(0)) / np.where(span > 0, span, 1), -np.inf)
    assert vocabulary_map.partners(many).tolist() == stretched.argmax(1).tolist()


@pytest.fixture(scope="module")
def two():
    """Two tokenizers of one text, and a value network of the first."""
    from transformers import LlamaConfig

    large, small = (bpe.wrap(bpe.train(TEXTS, size), 64) for size in (360, 300))
    config = LlamaConfig(**SIZES, vocab_size=len(large))
    value = value_network.start(networks.network(config, 1).eval(), how="pretrained")
    return value, large, small


def test_onto_its_own_vocabulary_nothing_changes(two):
    value, large, _ = two
    same = vocabulary_map.translated(value, large, large, TEXTS)
    seen = np.flatnonzero(same.partner >= 0)
    assert len(seen) > 40 and (same.partner[seen] == seen).all()
    tokens = torch.tensor([large(TEXTS[0], add_special_tokens=False)["input_ids"][:12]])
    want, found = value.logits(tokens)[0], same.logits(tokens)[0]
    torch.testing.assert_close(found[:, seen], want[:, seen], atol=1e-4, rtol=1e-4)


def test_every_prefix_is_read_as_if_it_were_the_whole_text(two):
    value, large, small = two
    carried = vocabulary_map.translated(value, large, small, TEXTS)
    assert carried.vocab == len(small)
    row = small(TEXTS[1], add_special_tokens=False)["input_ids"][:20]
    found = carried.logits(torch.tensor([row]))[0]
    for end in range(1, len(row) + 1):
        own = large(small.decode(row[:end]), add_special_tokens=False)["input_ids"]
        z = value.logits(torch.tensor([own]))[0, -1]
        want = torch.where(torch.from_numpy(carried.partner) >= 0, z[carried.partner.clip(0)], z.mean())
        torch.testing.assert_close(found[end - 1], want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(carried.last([row])[0], found[-1], atol=1e-4, rtol=1e-4)


def test_it_generates_for_a_model_of_the_other_vocabulary(two):
    from transformers import LlamaConfig

    value, large, small = two
    model = networks.network(LlamaConfig(**SIZES, vocab_size=len(small)), 2).eval()
    carried = vocabulary_map.translated(value, large, small, TEXTS)
    prompt = torch.tensor([small(TEXTS[2], add_special_tokens=False)["input_ids"][:5]])
    out = model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0,
                         logits_processor=[ValueLogits(carried, base=model)])
    for at in range(5, out.shape[1]):
        z = model(out[:, :at]).logits[0, -1] + carried.last([out[0, :at].tolist()])[0]
        assert z.argmax().item() == out[0, at].item()
    with pytest.raises(ModelError, match="carry it over by vocabulary_map.translated"):
        value_network.check(model, value)


def test_cascade_cannot_be_carried_over(two):
    value, large, small = two
    with pytest.raises(ModelError, match="carry over a residual one"):
        vocabulary_map.translated(value_network.start(value.network, "cascade"), large, small, TEXTS[:1])
