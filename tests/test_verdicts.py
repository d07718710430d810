"""Verdicts beside activation correlation, against hand values and a literal ablation."""

import numpy as np
import pandas as pd
import pytest
import torch

from unifeat import lm, plots, profiles, rungs, verdictplot, verdicts
from unifeat.profiles import Model

TINY = Model(layers=1, d_model=16, d_mlp=24, heads=2, kv_heads=1, norm_eps=1e-6, rope_theta=1e4, seed=0)


@pytest.fixture(scope="module")
def model():
    return lm.build(TINY, vocab=50, context=12)


@pytest.fixture(scope="module")
def blocks():
    return np.random.default_rng(0).integers(0, 50, (5, 12))


def test_ablation_equals_changing_the_activation_in_a_forward_pass(model, blocks):
    rng = torch.Generator().manual_seed(0)
    direction, f = torch.randn(24, generator=rng), torch.rand(5 * 12, generator=rng)
    tokens = torch.from_numpy(blocks)
    with torch.no_grad():
        clean = model(input_ids=tokens).logits
        with lm.hooked(model, lambda x: x - (f[:, None] * direction).view_as(x)):
            moved = model(input_ids=tokens).logits
    kept = blocks.ravel() > 0
    want = (moved - clean).reshape(-1, 50)[torch.from_numpy(kept)]
    want = want - want.mean(1, keepdim=True)
    residual = verdicts.residuals(model, blocks)
    tolerance = 1e-4 if lm.compute_dtype() == torch.float32 else 0.02
    got = verdicts.ablate(model, residual, f[torch.from_numpy(kept)], direction)
    np.testing.assert_allclose(got, want, atol=tolerance)
    assert got.abs().max() > 0.05


def test_logit_effect_is_the_slope_of_a_small_ablation_up_to_the_norm(model, blocks):
    """Without the norm's own reaction the change is -(f / rms) times the effect; compared where they must agree."""
    direction = torch.randn(24, generator=torch.Generator().manual_seed(1))
    effect = verdicts.logit_effects(model, direction[None])
    by_hand = model.lm_head.weight @ (model.model.norm.weight * (lm.site(model).weight @ direction))
    np.testing.assert_allclose(effect[0].detach(), by_hand.detach(), atol=1e-5)


def test_pearson_rows_against_numpy():
    a, b = torch.randn(4, 30), torch.randn(4, 30)
    want = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(verdicts.pearson_rows(a, b), want, atol=1e-6)
    assert np.isnan(verdicts.pearson_rows(torch.ones(1, 5), torch.randn(1, 5))[0])


def test_agreement_by_hand():
    """Four pairs, two verdicts equal on three of them: same 0.75, chance 0.5, kappa 0.5."""
    found = pd.DataFrame(dict(r=[0.9, 0.9, 0.1, 0.2], decoder=[0.9, 0.2, 0.1, 0.3], encoder=[0.9, 0.85, 0.0, 0.1],
                              logits=[0.9, 0.2, 0.9, 0.1]))
    rows = verdicts.agreement(found, 0.8).set_index("verdict")
    assert rows.loc["decoder", "same"] == 0.75 and rows.loc["decoder", "kappa"] == pytest.approx(0.5)
    assert rows.loc["encoder", "kappa"] == 1 and rows.loc["logits", "kappa"] == 0


def test_rotation_keeps_lengths_and_mean_and_moves_axes():
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(2)) + 3
    y = rungs.rotate(x, 0)
    np.testing.assert_allclose(y.mean(0), x.mean(0), atol=1e-5)
    np.testing.assert_allclose((y - y.mean(0)).norm(dim=1), (x - x.mean(0)).norm(dim=1), rtol=1e-4)
    assert torch.equal(y, rungs.rotate(x, 0)) and not torch.allclose(y, rungs.rotate(x, 1))
    r = np.corrcoef(x.T, y.T)[:8, 8:]
    assert np.abs(r).max() < 0.95


def test_figures_survive_gaps(tmp_path):
    edges = {("base", "lua"): pd.DataFrame(dict(r=[0.1, 0.9], decoder=[0.2, 0.8], encoder=0.1, logits=np.nan))}
    effects = {("base", "lua"): pd.DataFrame(dict(r=[0.1, 0.9], agreement=[np.nan, 0.8], random=0.0))}
    table = pd.DataFrame([("base", 0, "base", 0.1, 0.95), ("base", 0, "lua", 0.4, -0.5), ("lua", 0, "lua", 0.1, 0.9)],
                         columns=["sae_model", "seed", "model", "fvu", "ce_recovered_mean"])
    for name, fig in (("v", verdictplot.verdicts(edges, effects, note="a note")), ("s", verdictplot.swap(table)),
                      ("e", verdictplot.verdicts({}, {})), ("t", verdictplot.swap(table[:0]))):
        assert all(path.stat().st_size > 1000 for path in plots.write(fig, tmp_path / name))


def test_names_of_profiles_are_what_the_stages_expect():
    assert profiles.load("smoke").model.layers == 1, "the causal check is exact in a one-layer model only"
