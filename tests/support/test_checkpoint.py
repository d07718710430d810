"""Training that is killed goes on to the same bytes, on a CPU and on a stand-in for a GPU."""

import contextlib
import dataclasses

import architectures
import gpu
import numpy as np
import pytest
import torch

from unifeat import lineage, lm, sae
from unifeat.lm import training
from unifeat.sae import training as sae_training
from unifeat.support.checkpoint import Checkpoint

SMOKE = lineage.read("smoke")


class Killed(Exception):
    """What stands for kill -9 here."""


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Training runs on the device that there is, and again on a stand-in for a GPU where there is none."""
    pretend = request.param == "cuda" and not torch.cuda.is_available()
    with gpu.present() if pretend else contextlib.nullcontext():
        yield


@pytest.fixture
def often(monkeypatch):
    """Every step is saved; the returned list counts the saves and `after` of them kills the process."""
    saves, save = [], Checkpoint.save
    monkeypatch.setattr(Checkpoint, "due", lambda self: self.file is not None)

    def counted(self, *state):
        save(self, *state)
        saves.append(1)
        if len(saves) == counted.after:
            raise Killed

    counted.after = 0
    monkeypatch.setattr(Checkpoint, "save", counted)
    return counted


def text(seed=0):
    return np.random.default_rng(seed).integers(0, 64, (40, 32))


def train_lm(folder=None, until=None, model=None):
    config = dataclasses.replace(SMOKE.models["base"].train, text=("english",), weights=(1.0,),
                                 tokens=32 * 8 * 12, batch=8, warmup=3, evaluations=3)
    model = model or lm.build(SMOKE.model, 64, 32)
    log = training.train(model, {"english": text()}, config, {"english": text(1)[:4]}, folder=folder, until=until)
    return lm.weights_hash(model), log


def train_saes(kind, folder=None):
    config = dataclasses.replace(SMOKE.sae, kind=kind, width=32, k=4, l1=0.1, tokens=1536, batch=128, buffer=512,
                                 warmup=1, dead_after=200)
    model = lm.build(SMOKE.model, 64, 32)
    saes, log = sae_training.train(model, [text()], [1.0], config, folder=folder)
    return [(one.threshold, one.dead_share, *(p.tolist() for p in one.parameters())) for one in saes], log


@pytest.mark.parametrize("after", [1, 4, 11, 12])
def test_killed_language_model_training_goes_on_to_the_same_bytes(tmp_path, often, device, after):
    whole, often.after = train_lm(), after
    with pytest.raises(Killed):
        train_lm(tmp_path)
    assert train_lm(tmp_path) == whole


def test_killed_training_until_a_step_goes_on_to_the_same_bytes(tmp_path, often, device):
    whole, often.after = train_lm(until=7), 4
    with pytest.raises(Killed):
        train_lm(tmp_path, until=7)
    assert train_lm(tmp_path, until=7) == whole


@pytest.mark.parametrize("kind", sae.KINDS)
@pytest.mark.parametrize("after", [2, 7])
def test_killed_sae_training_goes_on_to_the_same_bytes(tmp_path, often, device, kind, after):
    whole, often.after = train_saes(kind), after
    with pytest.raises(Killed):
        train_saes(kind, tmp_path)
    assert train_saes(kind, tmp_path) == whole


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neo"])
def test_a_model_whose_embeddings_are_tied_goes_on_too(tmp_path, often, kind):
    """safetensors refuses to save one memory under two names, which a short training never comes to."""
    def fresh():
        return lm.prove(architectures.small(kind, tie_word_embeddings=True), kind)

    whole, often.after = train_lm(model=fresh()), 4
    with pytest.raises(Killed):
        train_lm(tmp_path, model=fresh())
    went_on = fresh()
    assert train_lm(tmp_path, model=went_on) == whole
    assert went_on.get_output_embeddings().weight is went_on.get_input_embeddings().weight


def test_a_resumed_training_does_not_start_again(tmp_path, often, monkeypatch):
    often.after = 9
    with pytest.raises(Killed):
        train_lm(tmp_path)
    steps, step = [], training._step
    monkeypatch.setattr(training, "_step", lambda *a: steps.append(1) or step(*a))
    train_lm(tmp_path)
    assert len(steps) == 12 - 9


def test_checkpoint_is_replaced_whole_and_an_unreadable_one_is_no_checkpoint(tmp_path):
    saved = Checkpoint(tmp_path, every=0)
    assert saved.load() is None and saved.due() and not Checkpoint(None, every=0).due()
    saved.save({"x": torch.arange(3)}, {"step": 1, "loss": 0.1 + 0.2})
    saved.save({"x": torch.arange(4)}, {"step": 2, "loss": 0.1 + 0.2})
    tensors, state = Checkpoint(tmp_path).load()
    assert tensors["x"].tolist() == [0, 1, 2, 3] and state == {"step": 2, "loss": 0.1 + 0.2}
    assert [path.name for path in saved.file.parent.iterdir()] == [saved.file.name]
    tied = torch.rand(2, 3)
    saved.save({"x": tied, "y": tied, "turned": tied.T, "none": torch.empty(0), "no": torch.empty(0)}, {})
    assert saved.file.stat().st_size < 700 and set(saved.load()[0]) == {"x", "y", "turned", "none", "no"}
    assert torch.equal(saved.load()[0]["y"], tied) and torch.equal(saved.load()[0]["turned"], tied.T)
    saved.save({"x": torch.arange(4)}, {"step": 2, "loss": 0.1 + 0.2})
    saved.file.write_bytes(saved.file.read_bytes()[:20])
    assert saved.load() is None
