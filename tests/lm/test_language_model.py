"""The language model: built, saved, loaded, refused, described."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unifeat import lineage, lm
from unifeat.text import bpe

SMOKE = lineage.read("smoke")


@pytest.fixture(scope="module")
def model():
    return lm.build(SMOKE.model, 300, 32)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    tokenizer = bpe.wrap(bpe.train(["some text to train a tokenizer on " * 20], 300), 32)
    path = tmp_path_factory.mktemp("model")
    lm.save(model, tokenizer, path)
    return path


FIRST_USES = """
import sys
from threading import Thread
from unifeat import lm
from unifeat.text import corpora
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


def test_building_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    lm.build(SMOKE.model, 300, 32)
    assert torch.equal(torch.rand(3), wanted)


def test_one_changed_weight_changes_the_hash():
    model = lm.build(SMOKE.model, 300, 32)
    before = lm.weights_hash(model)
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-6
    assert lm.weights_hash(model) != before


def test_description_counts_the_parameters(model):
    facts = lm.describe(model)
    assert facts["parameters"] == sum(value.numel() for value in model.state_dict().values())
    assert facts | dict(layers=1, d_model=64, d_mlp=128, heads=4, kv_heads=2, vocab=300, context=32) == facts


def test_saved_model_loads_in_hugging_face_and_transformer_lens(model, folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = torch.tensor(np.random.default_rng(0).integers(1, 260, (2, 32)))
    with torch.inference_mode():
        logits = model(input_ids=tokens).logits
        theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=lm.kernel())
        assert torch.equal(theirs(input_ids=tokens).logits, logits)
        assert AutoTokenizer.from_pretrained(folder)("some text")["input_ids"]
        bridge = lm.bridge(folder)
        torch.testing.assert_close(bridge(tokens), logits, rtol=1e-4, atol=1e-5)
        _, cache = bridge.run_with_cache(tokens)
        ours = lm.activations(model, tokens).float()
        torch.testing.assert_close(cache["blocks.0.mlp.hook_post"], ours, rtol=2e-2, atol=1e-3)
    assert lm.weights_hash(lm.load(folder)) == lm.weights_hash(model)


@pytest.fixture
def bad(folder, tmp_path):
    """A copy of the model to damage."""
    return shutil.copytree(folder, tmp_path / "bad")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(lm.ModelError, match="lacks config.json"):
        lm.load(tmp_path)


@pytest.mark.parametrize(("damage", "words"), [(lambda path: path.write_bytes(b"not safetensors"), "is damaged or cut"),
                                               (lambda path: path.unlink(), "lacks model.safetensors")])
def test_weights_that_cannot_be_read_are_refused(bad, damage, words):
    damage(bad / "model.safetensors")
    with pytest.raises(lm.ModelError, match=words) as caught:
        lm.load(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "words"), [
    (lambda weights, name: weights.pop(name), "lacks the tensor model.layers.0.mlp.down_proj.weight"),
    (lambda weights, name: weights.update({name: weights[name][:, :5].clone()}), "cannot be loaded"),
    (lambda weights, name: weights[name][2].fill_(torch.nan), "values in .*down_proj.weight that are not finite"),
])
def test_incomplete_and_broken_weights_are_named(bad, change, words):
    weights = load_file(bad / "model.safetensors")
    change(weights, "model.layers.0.mlp.down_proj.weight")
    save_file(weights, bad / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(lm.ModelError, match=words) as caught:
        lm.load(bad)
    assert "\n" not in str(caught.value)
