"""Metrics of SAEs at their anchors, and against their definitions."""

import dataclasses

import numpy as np
import patches
import pytest
import torch
from saes import SMOKE

from unifeat import lm, sae
from unifeat.sae import features, plain, training


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    patches.float32(monkeypatch)


@pytest.fixture(scope="module")
def model():
    return lm.build(SMOKE.model, 300, 32)


@pytest.fixture(scope="module")
def blocks():
    blocks = np.random.default_rng(0).integers(1, 300, (6, 32))
    blocks[:, 0] = 0
    return blocks


def identity(d):
    """An SAE that gives back its input exactly: one latent per direction and sign."""
    w = torch.cat([torch.eye(d), -torch.eye(d)])
    return sae.Sae("relu", 1, w, torch.zeros(2 * d), w.clone(), torch.zeros(d), scale=1.0)


def test_metrics_at_their_anchors(model, blocks):
    """A perfect SAE: FVU 0, all cross-entropy recovered. The mean as reconstruction: FVU 1, nothing recovered."""
    x = lm.activations(model, torch.tensor(blocks))[torch.tensor(blocks) > 0].float()
    constant = dataclasses.replace(identity(128), w_dec=torch.zeros(256, 128), b_dec=x.mean(0))
    constant.w_enc = torch.zeros(256, 128)
    perfect, mean = sae.evaluate([identity(128), constant], model, blocks)
    assert perfect["fvu"] == pytest.approx(0, abs=1e-9) and perfect["ce_recovered_mean"] == pytest.approx(1, abs=1e-4)
    assert perfect["ce_recovered_zero"] == pytest.approx(1, abs=1e-4)
    assert perfect["l0"] == pytest.approx(128) and perfect["density"].shape == (256,)
    assert mean["fvu"] == pytest.approx(1, rel=1e-5) and mean["ce_recovered_mean"] == pytest.approx(0, abs=1e-4)
    assert mean["l0"] == 0


@pytest.mark.parametrize("kind", sae.KINDS)
def test_l0_fvu_and_density_by_their_definitions(model, blocks, kind):
    x = features.text_activations(model, blocks)
    one = training.init(dataclasses.replace(SMOKE.sae, kind=kind), 128, 0, 0.7, x.mean(0))
    found, = sae.evaluate([one], model, blocks, batch=4)
    f = plain.encode(one, x)
    error = (plain.decode(one, f) - x).square().sum() / (x - x.mean(0)).square().sum()
    assert found["l0"] == pytest.approx((f > 0).sum(1).double().mean().item(), rel=1e-3)
    assert found["fvu"] == pytest.approx(error.item(), rel=1e-4)
    np.testing.assert_allclose(found["density"], (f > 0).double().mean(0), atol=1.5 / len(x))
