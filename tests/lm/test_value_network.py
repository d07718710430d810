"""Value networks: the formula by hand, the base untouched, and generation with caches as without."""

import dataclasses
import json
import types

import networks
import numpy as np
import pytest
import torch

from unifeat import lm
from unifeat.lineage import read
from unifeat.lm import value_network
from unifeat.lm.hooks import ModelError
from unifeat.lm.value_logits import ValueLogits

CONFIG = networks.CONFIGS["llama"]
VOCAB = CONFIG.vocab_size


def model(seed=0, kind="llama"):
    return networks.network(networks.CONFIGS[kind], seed).eval()


def blocks(n=64, context=16, seed=0):
    """Texts that count up from a random token."""
    return (np.random.default_rng(seed).integers(VOCAB, size=(n, 1)) + np.arange(context)) % VOCAB


def settings(steps=30):
    return dataclasses.replace(read("smoke").models["base"].train, tokens=steps * 8 * 16, batch=8, lr=1e-2, warmup=2,
                               text=("x",), weights=(1.0,))


def shaken(value, size=0.3):
    """A value network whose head is not zero."""
    head = value.network.get_output_embeddings()
    head.weight.data = size * torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(1))
    return value


@pytest.mark.parametrize("scheme", value_network.SCHEMES)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_head_of_zeros_is_the_base_to_the_bit(scheme, kind):
    base = model(kind=kind)
    value = value_network.start(model(1, kind), scheme)
    tokens = torch.from_numpy(blocks(2))
    before = value_network.base_logits(base, tokens)
    delta = value.logits(tokens, before)
    assert not delta.any() and torch.equal(before + delta, before)
    assert value.network.get_input_embeddings().weight.any()
    assert value_network.evaluate(base, value, blocks()) == value_network.evaluate(base, None, blocks())
    whole = lm.evaluate(base, blocks())
    assert value_network.evaluate(base, None, blocks())["loss_nats"] == pytest.approx(whole["loss_nats"], rel=1e-5)


def test_the_loss_by_hand():
    base, delta = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 0.0, -2.0]])
    want = -np.log(np.exp(1) / (2 * np.exp(1) + 1)) + 0.5 * 1.0
    assert value_network.loss_of(base, delta, torch.tensor([1]), 0.5).item() == pytest.approx(want, rel=1e-6)
    shifted = value_network.loss_of(base + 7, delta, torch.tensor([1]), 0.5)
    assert shifted.item() == pytest.approx(want, rel=1e-5)  # softmax does not see a shift


def test_cascade_adds_the_expected_embedding_of_the_bases_next_token():
    value = shaken(value_network.start(model(1), "cascade"))
    tokens, table = torch.from_numpy(blocks(1)), value.network.get_input_embeddings().weight
    sure = torch.full((1, tokens.shape[1], VOCAB), -1e4)
    sure[..., 3] = 0  # the base is sure of token 3
    want = value.network(inputs_embeds=table[tokens] + table[3]).logits
    torch.testing.assert_close(value.logits(tokens, sure), want)
    with pytest.raises(ModelError, match="reads the base's logits; give the base model"):
        value.logits(tokens)


@pytest.mark.parametrize("scheme", value_network.SCHEMES)
def test_training_lowers_the_loss_of_both_together_and_leaves_the_base_alone(scheme):
    base, value = model(), value_network.start(model(1), scheme)
    before, alone = {name: one.clone() for name, one in base.state_dict().items()}, lm.evaluate(base, blocks())
    losses = value_network.train(base, value, {"x": blocks()}, settings())
    assert len(losses) == 30 and losses[-1] < losses[0] - 0.5
    assert all(torch.equal(one, before[name]) for name, one in base.state_dict().items())
    found = value_network.evaluate(base, value, blocks())
    assert found["loss_nats"] < alone["loss_nats"] - 0.5 and found["tokens"] == 64 * 15


def test_the_norm_keeps_the_value_logits_small():
    sizes = []
    for weight in (0.0, 3.0):
        base, value = model(), value_network.start(model(1))
        value_network.train(base, value, {"x": blocks()}, settings(), weight)
        sizes.append(value.logits(torch.from_numpy(blocks(4))).abs().mean().item())
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize("call, words", [
    (lambda: value_network.start(model(), "both"), "is residual or cascade and starts zero or pretrained, not both"),
    (lambda: value_network.train(model(), value_network.start(model(1)), {}, settings(), -1), "weight is -1; choose 0"),
])
def test_what_cannot_be_is_one_sentence(call, words):
    with pytest.raises(ModelError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_another_vocabulary_is_refused():
    other = types.SimpleNamespace(config=types.SimpleNamespace(vocab_size=VOCAB + 8))
    with pytest.raises(ModelError, match=f"has {VOCAB} tokens and the model {VOCAB + 8}; use it on models of its own"):
        value_network.check(other, value_network.Value(model()))


def test_a_saved_network_comes_back_with_its_scheme_and_a_card(tmp_path):
    value = shaken(value_network.start(model(1), "cascade"))
    value_network.save(value, networks.tokenizer("llama"), tmp_path / "mine", "Trained on x.")
    back, tokens = value_network.load(tmp_path / "mine"), torch.from_numpy(blocks(2))
    before = value_network.base_logits(model(), tokens)
    assert back.scheme == "cascade"
    torch.testing.assert_close(back.logits(tokens, before), value.logits(tokens, before))
    assert "Trained on x." in (tmp_path / "mine" / "README.md").read_text()
    (tmp_path / "mine" / "value.json").write_text(json.dumps(dict(scheme="other")))
    with pytest.raises(ModelError, match="must be residual or cascade"):
        value_network.load(tmp_path / "mine")
    (tmp_path / "mine" / "value.json").unlink()
    with pytest.raises(ModelError, match="holds no value network"):
        value_network.load(tmp_path / "mine")


# Generation ---------------------------------------------------------------------------------------------------------

PAD = 0
PROMPTS = torch.tensor([[PAD, PAD, 5, 6, 7], [9, 10, 11, 12, 13]])


class Sum(torch.nn.Module):
    """The sum of base and value network as a plain function of a whole row, without a cache."""

    def __init__(self, base, value):
        super().__init__()
        self.base, self.value = base, value

    def __call__(self, row):
        before = value_network.base_logits(self.base, row[None])
        return torch.log_softmax(before + self.value.logits(row[None], before), -1)[0, -1]


def generated(base, value, **how):
    return base.generate(input_ids=PROMPTS, attention_mask=(PROMPTS != PAD).long().cummax(1).values, max_new_tokens=6,
                         pad_token_id=PAD, eos_token_id=None, logits_processor=[ValueLogits(value, base, pad=PAD)],
                         return_dict_in_generate=True, output_scores=True, **how)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("scheme", value_network.SCHEMES)
def test_greedy_generation_with_caches_and_padding_is_the_sum_without(scheme, kind):
    base, value = model(kind=kind), shaken(value_network.start(model(1, kind), scheme))
    rows, both = generated(base, value, do_sample=False).sequences, Sum(base, value)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        text = prompt[prompt != PAD]
        for token in row[len(prompt):]:
            scores = both(text)
            assert scores[token] > scores.max() - 1e-4
            text = torch.cat([text, token[None]])


@pytest.mark.parametrize("scheme", value_network.SCHEMES)
def test_beams_change_places_and_their_caches_follow(scheme):
    base, value = model(), shaken(value_network.start(model(1), scheme))
    found, both = generated(base, value, do_sample=False, num_beams=4, length_penalty=0.0), Sum(base, value)
    for prompt, row, score in zip(PROMPTS, found.sequences, found.sequences_scores, strict=True):
        text, total = prompt[prompt != PAD], 0.0
        for token in row[len(prompt):]:
            total += both(text)[token].item()
            text = torch.cat([text, token[None]])
        assert total == pytest.approx(score.item(), abs=0.02)  # in the dtype of computation


def test_sampling_follows_the_sum():
    base, value = model(), shaken(value_network.start(model(1)), 1.0)
    torch.manual_seed(0)
    drawn = base.generate(input_ids=PROMPTS[1:].repeat(2000, 1), max_new_tokens=1, do_sample=True, top_k=0,
                          pad_token_id=PAD, eos_token_id=None, logits_processor=[ValueLogits(value)])[:, -1]
    want = Sum(base, value)(PROMPTS[1]).exp()
    assert (torch.bincount(drawn, minlength=VOCAB) / 2000 - want).abs().max() < 0.05


def test_cascade_without_the_base_is_one_sentence():
    with pytest.raises(ModelError, match="on the prompt; give ValueLogits the base model"):
        model().generate(input_ids=PROMPTS[1:], max_new_tokens=1, pad_token_id=PAD,
                         logits_processor=[ValueLogits(value_network.start(model(1), "cascade"))])
