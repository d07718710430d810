"""Training SAEs: steps, sparsity, dead latents, seeds, the stream of activations."""

import dataclasses

import numpy as np
import patches
import pytest
import torch
from saes import CONFIG, SMOKE, inputs, make

from unifeat import lm, sae
from unifeat.sae import training


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    patches.float32(monkeypatch)


@pytest.mark.parametrize("kind", sae.KINDS)
def test_training_step_keeps_unit_rows_and_lowers_the_error(kind):
    trainer = training.Trainer(make(kind), dataclasses.replace(CONFIG, kind=kind, tokens=16 * 200, decay=0.2))
    x = inputs(64)
    errors = [float(trainer.update(x[i % 4 * 16:][:16])["error"]) for i in range(200)]
    torch.testing.assert_close(trainer.sae.w_dec.norm(dim=1), torch.ones(12))
    assert np.mean(errors[-20:]) < 0.5 * np.mean(errors[:20])


def test_relu_l0_is_steered_to_k():
    x, found = inputs(4096, d=16), []
    for k in (2, 6):
        config = dataclasses.replace(CONFIG, kind="relu", width=32, k=k, l1=0.05, batch=256, tokens=256 * 600, lr=3e-3)
        trainer = training.Trainer(training.init(config, 16, 0, 1.0, torch.zeros(16)), config)
        for i in range(600):
            trainer.update(x[i % 16 * 256:][:256])
        found.append((trainer.sae.encode(x) > 0).sum(1).float().mean().item())
    assert found[0] < found[1] and found[0] == pytest.approx(2, rel=0.3) and found[1] == pytest.approx(6, rel=0.3)


def asleep(aux, steps):
    """A trainer of an SAE of which four latents in twelve are never the largest, after some steps; k is 1."""
    one, first = make("topk"), torch.arange(12) < 4
    one.k = 1
    one.w_enc = torch.where(first[:, None], 0.01 * one.w_enc, one.w_enc)
    one.b_enc = torch.where(first, 0.05, one.b_enc + 4)  # what is not positive has no gradient, by no loss
    config = dataclasses.replace(CONFIG, k=1, tokens=16 * 300, dead_after=160, aux=aux, k_anneal=0.0, decay=0.0)
    trainer, x = training.Trainer(one, config), inputs(64)
    for i in range(steps):
        trainer.update(x[i % 4 * 16:][:16])
    return trainer


def test_dead_latents_are_counted():
    assert asleep(0.0, 9).finish().dead_share == 0 and asleep(0.0, 12).finish().dead_share >= 4 / 12


def test_dead_latents_are_revived_by_the_auxiliary_loss_and_by_nothing_else():
    fires = {aux: (asleep(aux, 200).sae.encode(inputs(64)) > 0).any(0)[:4] for aux in (0.0, 1.0)}
    assert not fires[0.0].any() and fires[1.0].any()


def test_the_number_of_active_latents_falls_to_k():
    config = dataclasses.replace(CONFIG, k_first=11, k=3, k_anneal=0.5)
    numbers = [training.active(step, 100, config) for step in range(100)]
    assert numbers[0] == 11 and numbers == sorted(numbers, reverse=True) and numbers[50:] == [3] * 50
    assert training.active(0, 100, dataclasses.replace(config, k_first=99)) == config.width


def test_the_rate_rises_stays_and_falls_to_zero():
    config = dataclasses.replace(CONFIG, warmup=10, decay=0.2)
    rates = [training.rate(step, 100, config) for step in range(100)]
    assert rates[0] == config.lr / 10 and rates[9:80] == [config.lr] * 71
    assert rates[99] == pytest.approx(config.lr / 20) and rates[80:] == sorted(rates[80:], reverse=True)


def test_geometric_median_minimises_the_summed_distance():
    x = inputs(50) ** 3
    best = training.geometric_median(x, steps=200)
    total = (x - best).norm(dim=1).sum()
    for step in torch.eye(5) * 0.02:
        assert total <= (x - best - step).norm(dim=1).sum() + 1e-4


@pytest.fixture(scope="module")
def model():
    return lm.build(SMOKE.model, 300, 32)


SHORT = dataclasses.replace(CONFIG, width=64, tokens=2048, batch=128, buffer=512)


def test_training_on_a_model_is_seeded_and_seeds_differ(model):
    blocks = [np.random.default_rng(0).integers(0, 300, (40, 32))]
    runs = [training.train(model, blocks, [1.0], SHORT)[0] for _ in range(2)]
    assert torch.equal(runs[0][0].w_enc, runs[1][0].w_enc) and torch.equal(runs[0][1].w_dec, runs[1][1].w_dec)
    assert not torch.equal(runs[0][0].w_enc, runs[0][1].w_enc)
    assert runs[0][0].lm_hash == lm.weights_hash(model)


def test_an_sae_does_not_depend_on_those_that_are_trained_beside_it(model):
    blocks = [np.random.default_rng(0).integers(0, 300, (40, 32))]
    (_, both), _ = training.train(model, blocks, [1.0], SHORT)
    (alone,), log = training.train(model, blocks, [1.0], dataclasses.replace(SHORT, seeds=SHORT.seeds[1:2]))
    assert both.seed == alone.seed and torch.equal(both.w_enc, alone.w_enc) and torch.equal(both.w_dec, alone.w_dec)
    assert [row["tokens"] for row in log] == [128 * step for step in range(1, 17)]
    assert set(log[0]) == {"model", "seed", "tokens", "fvu", "l0", "dead"}


def test_stream_leaves_special_tokens_out_and_is_scaled_to_unit_square(model):
    blocks = [np.random.default_rng(0).integers(0, 3, (40, 32))]
    share = (blocks[0] > 0).mean()
    sizes = [len(part) for part in training.stream(model, blocks, [1.0], SHORT)]
    assert np.mean(sizes) == pytest.approx(512 * share, rel=0.05)
    one = training.train(model, blocks, [1.0], SHORT)[0][0]
    x = next(training.stream(model, blocks, [1.0], SHORT)).float()
    assert (x * one.scale).square().sum(1).mean().item() == pytest.approx(128, rel=0.02)


def test_a_stream_may_begin_at_any_buffer(model):
    blocks = [np.random.default_rng(0).integers(0, 300, (40, 32)), np.full((9, 32), 7)]
    every = list(training.stream(model, blocks, [1.0, 0.5], SHORT))
    later = list(training.stream(model, blocks, [1.0, 0.5], SHORT, start=2))
    assert len(every) == len(later) + 2 and all(torch.equal(a, b) for a, b in zip(every[2:], later, strict=True))
