"""Gradients written out by hand against autograd through the plain statement of the loss."""

import dataclasses

import patches
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saes import inputs, make

from unifeat import sae
from unifeat.sae import gradients, plain

CASES = [*((kind, False) for kind in sae.KINDS), ("topk", True)]  # kind, whether over the active latents alone


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    patches.float32(monkeypatch)


def differentiable(one):
    """A copy of the SAE whose parameters take gradients."""
    return dataclasses.replace(one, **{name: getattr(one, name).clone().requires_grad_()
                                       for name in ("w_enc", "b_enc", "w_dec", "b_dec")})


@pytest.mark.parametrize("kind, wide", CASES)
@pytest.mark.parametrize("rows", [7, 1024])
def test_gradients_equal_those_of_the_plain_loss(kind, wide, rows, monkeypatch):
    """With ragged chunks; BatchTopK chooses its latents within each."""
    monkeypatch.setattr(gradients, "ROWS", rows)
    monkeypatch.setattr(gradients, "wide", lambda *_: wide)
    one, x, l1 = make(kind), inputs(), 0.3 if kind == "relu" else 0.0
    twin, parts = differentiable(one), x.split(rows)
    sum(plain.loss(twin, part, l1) * len(part) for part in parts).div(len(x)).backward()
    grads, fired, error, _ = gradients.gradients(one, x, l1, None, 0.0)
    for ours, theirs in zip(grads, twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        without = sum(plain.loss(twin, part) * len(part) for part in parts) / len(x)
        latents = torch.cat([_latents(twin, part) for part in parts])
    assert float(error) == pytest.approx(without.item(), rel=1e-5)
    assert torch.equal(fired, latents.amax(0) > 0)


def _latents(one, x):
    z = (one.scale * x - one.b_dec) @ one.w_enc.T + one.b_enc
    return plain.act(z, one.kind, one.k, plain.batch_threshold(z, one.k))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CASES), st.integers(1, 8), st.integers(1, 9), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_of_any_shape_seed_and_number_of_active_latents(case, k, n, d, seed):
    kind, wide = case
    one, x, l1 = make(kind, seed % 1000, d), inputs(n, d, seed), 0.2 if kind == "relu" else 0.0
    one.k = k
    twin = differentiable(one)
    plain.loss(twin, x, l1).backward()
    with pytest.MonkeyPatch.context() as patch:
        patches.float32(patch)
        patch.setattr(gradients, "wide", lambda *_: wide)
        grads = gradients.gradients(dataclasses.replace(one, k=12), x, l1, None, 0.0, k)[0]
    for ours, theirs in zip(grads, twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dead", [[2, 5, 7, 11], [4]])
def test_the_auxiliary_loss_equals_the_plain_one(wide, dead, monkeypatch):
    monkeypatch.setattr(gradients, "wide", lambda *_: wide)
    one, x, dead = make(), inputs(), torch.tensor(dead)
    twin = differentiable(one)
    plain.loss(twin, x, dead=dead, aux=0.5).backward()
    for ours, theirs in zip(gradients.gradients(one, x, 0.0, dead, 0.5)[0], twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-4, atol=1e-5)


def test_l1_is_summed_over_features_and_averaged_over_tokens():
    """The authors' slip: their L1 ran over token positions. Doubling the batch must not change ours."""
    one, x = make("relu"), inputs()
    slope = [gradients.gradients(one, part, 1.0, None, 0.0)[0][1]
             - gradients.gradients(one, part, 0.0, None, 0.0)[0][1] for part in (x, torch.cat([x, x]))]
    share = (one.encode(x) > 0).float().mean(0)
    torch.testing.assert_close(slope[0], share)
    torch.testing.assert_close(slope[1], share)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_batch_threshold_equals_its_plain_twin_and_lets_that_many_through(n, k, seed):
    z = torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))
    least = gradients.batch_threshold(z, k)
    assert least == max(0.0, plain.batch_threshold(z, k).item())
    assert (sae.act(z, "batchtopk", k, least) > 0).sum() == min(n * k, int((z > 0).sum()))


def test_batchtopk_threshold_starts_at_the_first_batch_and_follows_the_mean():
    one, x, expected = make("batchtopk"), inputs(64), None
    for part in x.split(16):
        z = (part * one.scale - one.b_dec) @ one.w_enc.T + one.b_enc
        least = gradients.batch_threshold(z, one.k)
        gradients.gradients(one, part, 0.0, None, 0.0)
        expected = 0.99 * expected + 0.01 * least if expected else least
        assert one.threshold == pytest.approx(expected, rel=1e-5)
    gradients.gradients(one, x, 0.0, None, 0.0, k=5)  # while k is annealed, batches say nothing of the final one
    assert one.threshold == pytest.approx(expected, rel=1e-5)
