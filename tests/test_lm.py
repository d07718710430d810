import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unifeat import lm
from unifeat.lineage import settings
from unifeat.lm import training

SMOKE = settings.load("smoke")


@pytest.fixture(scope="module")
def model():
    return lm.build(SMOKE.model, 300, 32)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    from unifeat.text import bpe

    tokenizer = bpe.wrap(bpe.train(["some text to train a tokenizer on " * 20], 300), 32)
    path = tmp_path_factory.mktemp("model")
    lm.save(model, tokenizer, path)
    return path


def rows(n=3, seed=0):
    return np.random.default_rng(seed).integers(1, 260, (n, 32))


FIRST_USES = """
import sys
from threading import Thread
from unifeat import corpora, lm
found = []

def use(call):
    try:
        call()
    except Exception as error:
        found.append(type(error).__name__)

calls = [lambda: corpora.load(sys.argv[1]), *4 * [lambda: lm.load(sys.argv[1])]]
threads = [Thread(target=use, args=(call,)) for call in calls]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*found)
"""


def test_threads_may_be_the_first_to_use_transformers(folder):
    # a run that goes on after a kill finds its models stored, and several threads load them at once; in a new process
    ran = subprocess.run([sys.executable, "-c", FIRST_USES, folder], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["CorpusError"]  # there are no corpora in that folder


def test_seed_decides_the_weights(model):
    again, other = lm.build(SMOKE.model, 300, 32), lm.build(dataclasses.replace(SMOKE.model, seed=1), 300, 32)
    assert lm.weights_hash(model) == lm.weights_hash(again) != lm.weights_hash(other)


def test_loss_accuracy_and_bits_per_byte_equal_hugging_face_by_hand(model, monkeypatch):
    monkeypatch.setattr(lm, "compute_dtype", lambda: torch.float32)
    tokens, sizes = rows(), np.arange(300)
    out = lm.evaluate(model, tokens, sizes)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(tokens)).logits[:, :-1].double().log_softmax(-1)
    targets = torch.tensor(tokens)[:, 1:]
    nats = -logits.gather(-1, targets[..., None]).sum().item()
    assert out["tokens"] == 3 * 31 and out["loss_nats"] == pytest.approx(nats / 93, rel=1e-5)
    assert out["accuracy"] == pytest.approx((logits.argmax(-1) == targets).double().mean().item())
    assert out["bits_per_byte"] == pytest.approx(nats / math.log(2) / tokens[:, 1:].sum(), rel=1e-5)


def test_training_loss_and_gradients_equal_autograd(model, monkeypatch):
    monkeypatch.setattr(lm, "compute_dtype", lambda: torch.float32)
    monkeypatch.setattr(lm, "CHUNK", 20)  # several chunks, the last one ragged
    tokens = torch.tensor(rows())
    ours = training.loss_of(model, tokens)
    ours.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    theirs = model(input_ids=tokens, labels=tokens).loss
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(grads[name], p.grad, rtol=1e-4, atol=1e-6)
    model.zero_grad()


def test_capture_changes_no_logit_and_equals_the_definition(model, monkeypatch):
    monkeypatch.setattr(lm, "compute_dtype", lambda: torch.float32)
    tokens = torch.tensor(rows())
    with torch.inference_mode():
        plain = model(input_ids=tokens).logits
        with lm.hooked(model, lambda x: None):
            assert torch.equal(model(input_ids=tokens).logits, plain)
        x = lm.activations(model, tokens)
        with lm.hooked(model, lambda y: torch.zeros_like(y)):
            assert not torch.equal(model(input_ids=tokens).logits, plain)
        assert torch.equal(model(input_ids=tokens).logits, plain)  # the hook is gone again
        layer = model.model.layers[0]
        inputs = []
        handle = layer.mlp.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        model(input_ids=tokens)
        handle.remove()
        mlp = layer.mlp
        torch.testing.assert_close(x, torch.nn.functional.silu(mlp.gate_proj(inputs[0])) * mlp.up_proj(inputs[0]))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_our_attention_is_transformers_own(kv_heads, monkeypatch):
    monkeypatch.setattr(lm, "compute_dtype", lambda: torch.float32)
    found = {}
    for name in ("eager", lm.attention()):
        monkeypatch.setattr(lm, "attention", lambda name=name: name)
        model = lm.build(dataclasses.replace(SMOKE.model, d_model=32, d_mlp=16, heads=4, kv_heads=kv_heads, layers=2),
                         300, 32)
        training.loss_of(model, torch.tensor(rows())).backward()
        padded = model(input_ids=torch.tensor(rows()), attention_mask=torch.tensor(rows()) % 3 > 0).logits
        found[name] = [p.grad for p in model.parameters()] + [padded[torch.tensor(rows()) % 3 > 0].detach()]
    for theirs, ours in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


SIZES = dict(vocab_size=300, max_position_embeddings=32, bos_token_id=0, eos_token_id=0)
PLAIN = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
ARCHITECTURES = {"Mistral": PLAIN | dict(num_key_value_heads=1), "Llama": PLAIN, "GPTNeoX": PLAIN,
                 "GPT2": dict(n_embd=16, n_inner=24, n_layer=2, n_head=2)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_hook_points_are_transformer_lens_own(name, folder, tmp_path):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **ARCHITECTURES[name])
    kind = {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM")
    lm.save(getattr(transformers, kind)(config), transformers.AutoTokenizer.from_pretrained(folder), tmp_path)
    model, bridge, tokens = lm.load(tmp_path), lm.bridge(tmp_path), torch.tensor(rows(2))
    _, cache = bridge.run_with_cache(tokens)
    for point in lm.HOOKS:
        hook = f"blocks.1.{point}"
        torch.testing.assert_close(lm.activations(model, tokens, hook).float(), cache[hook], rtol=2e-2, atol=2e-3)
        with lm.hooked(model, torch.zeros_like, hook), torch.inference_mode():
            assert not torch.equal(model(input_ids=tokens).logits, bridge(tokens))
    loss = lm.evaluate(model, np.array(rows(2)))["loss_nats"]
    assert loss == pytest.approx(model(input_ids=tokens, labels=tokens).loss.item(), rel=1e-2)
    with pytest.raises(lm.ModelError, match=r"no hook point.*0 to 1"):
        lm.hook_module(model, "blocks.2.mlp.hook_post")


def test_saved_model_loads_in_hugging_face_and_transformer_lens(model, folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = torch.tensor(rows(2))
    with torch.inference_mode():
        logits = model(input_ids=tokens).logits
        theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=lm.attention())
        assert torch.equal(theirs(input_ids=tokens).logits, logits)
        assert AutoTokenizer.from_pretrained(folder)("some text")["input_ids"]
        bridge = lm.bridge(folder)
        torch.testing.assert_close(bridge(tokens), logits, rtol=1e-4, atol=1e-5)
        _, cache = bridge.run_with_cache(tokens)
        ours = lm.activations(model, tokens).float()
        torch.testing.assert_close(cache["blocks.0.mlp.hook_post"], ours, rtol=2e-2, atol=1e-3)
    assert lm.weights_hash(lm.load(folder)) == lm.weights_hash(model)


def test_folders_that_hold_no_usable_model(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(lm.ModelError, match="config.json is missing"):
        lm.load(tmp_path)
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    weights = load_file(bad / "model.safetensors")
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, bad / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(lm.ModelError, match="lacks the tensor model.layers.0.mlp.down_proj.weight"):
        lm.load(bad)
    (bad / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(lm.ModelError, match="cannot be loaded"):
        lm.load(bad)
    (bad / "model.safetensors").unlink()
    with pytest.raises(lm.ModelError, match="cannot be loaded"):
        lm.load(bad)


def test_training_learns_is_seeded_and_logs(capsys):
    config = dataclasses.replace(SMOKE.base, domains=("english",), weights=(1.0,), tokens=32 * 8 * 30, batch=8,
                                 warmup=3, evaluations=3)
    text = np.tile(np.arange(1, 33), (64, 1))
    logs, hashes = [], []
    for seed in (0, 0, 1):
        model = lm.build(SMOKE.model, 64, 32)
        logs.append(training.train(model, {"english": text + np.arange(64)[:, None] % 20},
                             dataclasses.replace(config, seed=seed), {"english": text[:4]}))
        hashes.append(lm.weights_hash(model))
    assert hashes[0] == hashes[1] != hashes[2] and logs[0] == logs[1]
    held = [row["loss"] for row in logs[0] if row["split"] == "validation"]
    assert len(held) == 3 and held[0] > 3.5 and held[-1] < 2
    assert logs[0][-1]["tokens"] == config.tokens


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 40), st.integers(0, 5))
def test_mixture_uses_every_block_before_any_twice_and_keeps_the_shares(sizes, count, seed):
    order = training.mixture(sizes, [1.0] * len(sizes), count, seed)
    assert order.shape == (count, 2)
    for domain, size in enumerate(sizes):
        used = np.bincount(order[order[:, 0] == domain, 1], minlength=size)
        assert used.max() - used.min() <= 1 and len(used) == size
        assert abs(used.sum() - count / len(sizes)) < 1.001


def test_schedule_rises_then_falls_to_its_end():
    config = SMOKE.base
    rates = [training.schedule(step, 200, config) for step in range(201)]
    assert rates[0] == config.lr / config.warmup and max(rates) == config.lr
    assert rates[config.warmup:] == sorted(rates[config.warmup:], reverse=True)
    assert rates[-1] == pytest.approx(config.lr * config.final_lr)


def test_sample_is_seeded(model, folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [lm.sample(model, tokenizer, "some", 12, seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("some")
