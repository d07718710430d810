"""Training a language model: its loss and gradients, its schedule, the order of its text, and stopping on the way."""

import dataclasses

import numpy as np
import patches
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifeat import lineage, lm
from unifeat.lm import plain, training
from unifeat.lm.optimizer import Optimizer

SMOKE = lineage.read("smoke")
CONFIG = dataclasses.replace(SMOKE.models["base"].train, text=("english",), weights=(1.0,), tokens=32 * 8 * 30, batch=8,
                             warmup=3, evaluations=3)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 50), st.integers(1, 6), st.integers(2, 20), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_fused_cross_entropy_equals_its_plain_twin(rows, d, vocab, chunk, seed):
    """With all gradients, and the last chunk ragged."""
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(rows, d, generator=generator), torch.randn(vocab, d, generator=generator)
    targets, found = torch.randint(vocab, (rows,), generator=generator), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "CHUNK", chunk)
        for fast in (True, False):
            parts = [value.clone().requires_grad_() for value in (x, weight)]
            loss = (training._LinearCrossEntropy.apply(*parts, targets, torch.float32) if fast else
                    plain.cross_entropy(*parts, targets))
            (3 * loss).backward()
            found.append([loss, *(value.grad for value in parts)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_loss_and_gradients_of_a_model_equal_hugging_faces(monkeypatch):
    patches.float32(monkeypatch)
    monkeypatch.setattr(lm, "CHUNK", 20)
    model, tokens = lm.build(SMOKE.model, 300, 32), torch.tensor(np.random.default_rng(0).integers(1, 260, (3, 32)))
    ours = training.loss_of(model, tokens)
    ours.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    theirs = model(input_ids=tokens, labels=tokens).loss
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(grads[name], p.grad, rtol=1e-4, atol=1e-6)


def train(seed=0, until=None, **changes):
    """A model trained on 64 rows of counting, and its log."""
    text = np.tile(np.arange(1, 33), (64, 1))
    model, config = lm.build(SMOKE.model, 64, 32), dataclasses.replace(CONFIG, seed=seed, **changes)
    log = training.train(model, {"english": text + np.arange(64)[:, None] % 20}, config, {"english": text[:4]},
                         until=until)
    return model, log


def test_training_learns_is_seeded_and_logs():
    (a, log), (b, again), (c, _) = (train(seed) for seed in (0, 0, 1))
    assert lm.weights_hash(a) == lm.weights_hash(b) != lm.weights_hash(c) and log == again
    held = [row["loss"] for row in log if row["split"] == "validation"]
    assert len(held) == 3 and held[0] > 3.5 and held[-1] < 2
    assert log[-1]["tokens"] == CONFIG.tokens


def test_training_until_a_step_gives_the_weights_that_the_whole_training_has_there(monkeypatch):
    """Also the schedule's: it is the whole run's, not that of a shorter one."""
    passed, step = [], training._step

    def noted(model, *rest):
        passed.append(lm.weights_hash(model))
        return step(model, *rest)

    monkeypatch.setattr(training, "_step", noted)
    model, whole = train()
    passed = [*passed, lm.weights_hash(model)]  # after 0, 1, ... 30 steps
    assert len(set(passed)) == 31
    for until in (0, 1, 15, 99):
        last = min(until, 30)
        model, log = train(until=until)
        assert lm.weights_hash(model) == passed[last]
        assert log[-1]["split"] == "validation" and log[-1]["step"] == last
        assert [row for row in log if row["step"] < last] == [row for row in whole if row["step"] < last]
    shorter, _ = train(tokens=32 * 8 * 15)
    assert lm.weights_hash(shorter) != passed[15]


def moved(**changes) -> dict[str, bool]:
    """Which parameters two steps change."""
    before, (model, _) = lm.build(SMOKE.model, 64, 32), train(tokens=32 * 8 * 2, evaluations=2, **changes)
    return {name: not torch.equal(old, new) for (name, old), new in
            zip(before.named_parameters(), model.parameters(), strict=True)}


def test_all_is_trained_but_norms_are_not_decayed(monkeypatch):
    assert all(moved(weight_decay=0.0).values())
    monkeypatch.setattr(training, "loss_of", lambda model, tokens: sum(p.sum() for p in model.parameters()) * 0.0)
    assert moved() == {name: "norm" not in name for name in moved()} and not any(moved(weight_decay=0.0).values())


@pytest.mark.parametrize("muon", [0.0, 5e-3])
def test_muon_takes_the_layers_matrices_and_nothing_else(muon):
    model = lm.build(SMOKE.model, 64, 32)
    made = Optimizer(model, dataclasses.replace(CONFIG, muon=muon))
    names = {id(p): name for name, p in model.named_parameters()}
    ours = {names[id(p)] for part in made.parts[1:] for group in part.param_groups for p in group["params"]}
    assert ours == ({name for name in names.values() if "proj" in name} if muon else set())
    assert sum(len(group["params"]) for part in made.parts for group in part.param_groups) == len(names)


def test_a_muon_step_is_the_momentums_nearest_orthogonal_matrix_at_the_size_of_an_adamw_step():
    """Against the singular value decomposition: U V^T, times 0.2 sqrt(the longer side) (Liu et al. 2025, eq. 4).

    Newton-Schulz in five steps leaves singular values between 0.7 and 1.2.
    """
    model = lm.build(SMOKE.model, 64, 32)
    made = Optimizer(model, dataclasses.replace(CONFIG, muon=0.01, weight_decay=0.0))
    weight = model.base_model.layers[0].mlp.up_proj.weight
    before, weight.grad = weight.detach().clone(), torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    gradient = weight.grad.clone()
    made.step(0.5)
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    moved = (before - weight.detach()) / (0.5 * 0.01 * 0.2 * max(weight.shape) ** 0.5)
    assert torch.nn.functional.cosine_similarity(moved.flatten(), (u @ v).flatten(), dim=0) > 0.97
    values = torch.linalg.svdvals(moved)
    assert values.min() > 0.5 and values.max() < 1.4


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 40), st.integers(0, 5))
def test_mixture_uses_every_block_before_any_twice_and_keeps_the_shares(sizes, count, seed):
    order = training.mixture(sizes, [1.0] * len(sizes), count, seed)
    assert order.shape == (count, 2)
    for domain, size in enumerate(sizes):
        used = np.bincount(order[order[:, 0] == domain, 1], minlength=size)
        assert used.max() - used.min() <= 1 and len(used) == size
        assert abs(used.sum() - count / len(sizes)) < 1.001


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=4))
def test_domains_are_mixed_in_proportion_to_their_weights(weights):
    order = training.mixture([7] * len(weights), weights, 200, 0)
    shares = np.bincount(order[:, 0], minlength=len(weights)) / 200
    np.testing.assert_allclose(shares, np.array(weights) / sum(weights), atol=1.001 / 200)


def test_batches_may_begin_at_any_step():
    blocks = [np.arange(40).reshape(10, 4), 100 + np.arange(20).reshape(5, 4)]
    order = training.mixture([10, 5], [1, 1], 14, 0)
    every = [part.tolist() for part in training.batches(blocks, order, 3)]
    assert len(every) == 4 and [part.tolist() for part in training.batches(blocks, order, 3, start=2)] == every[2:]
    assert every[0] == [blocks[domain][block].tolist() for domain, block in order[:3]]


def test_schedule_rises_then_falls_to_its_end():
    rates = [training.schedule(step, 200, CONFIG) for step in range(201)]
    assert rates[0] == 1 / CONFIG.warmup and max(rates) == 1
    assert rates[CONFIG.warmup:] == sorted(rates[CONFIG.warmup:], reverse=True)
    assert rates[-1] == pytest.approx(CONFIG.final_lr)
