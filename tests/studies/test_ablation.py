"""Features taken out of a model, against a literal ablation in a forward pass."""

import numpy as np
import pytest
import torch
from made_dictionaries import activations, dictionary, directions, made_run

from unifeat import lm
from unifeat.lineage.settings import Model
from unifeat.studies import ablation, pair_agreement

TINY = Model(layers=1, d_model=16, d_mlp=24, heads=2, kv_heads=1, norm_eps=1e-6, rope_theta=1e4, seed=0)


@pytest.fixture(scope="module")
def model():
    return lm.build(TINY, vocab=50, context=12)


@pytest.fixture(scope="module")
def blocks():
    return np.random.default_rng(0).integers(0, 50, (5, 12))


def test_ablation_equals_changing_the_activation_in_a_forward_pass(model, blocks):
    """Exact, since the model has one layer."""
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
    residual = ablation.residuals(model, blocks)
    tolerance = 1e-4 if lm.compute_dtype() == torch.float32 else 0.02
    got = ablation.ablate(model, residual, f[torch.from_numpy(kept)], direction)
    np.testing.assert_allclose(got, want, atol=tolerance)
    assert got.abs().max() > 0.05


def test_logit_effect_is_the_slope_of_a_small_ablation_up_to_the_norm(model):
    """Without the norm's own reaction the change is -(f / rms) times the effect; compared where they must agree."""
    direction = torch.randn(24, generator=torch.Generator().manual_seed(1))
    effect = pair_agreement.logit_effects(model, direction[None])
    by_hand = model.lm_head.weight @ (model.model.norm.weight * (lm.hook_module(model).weight @ direction))
    np.testing.assert_allclose(effect[0].detach(), by_hand.detach(), atol=1e-5)


def test_two_saes_of_one_model_are_the_ceiling_and_depend_on_that_model_alone(tmp_path):
    """Twins that write the same at another scale agree wholly; an SAE of other directions does not."""
    f, d = activations(0), directions(0)
    saes = {("up", 0): dictionary(f, directions(3)), ("down", 0): dictionary(2 * f, d, 2.0),
            ("down", 1): dictionary(f, d)}
    r = np.linspace(0.9, 0.3, len(d))
    run = made_run(tmp_path, saes, {(a, ("down", 1)): r for a in saes if a != ("down", 1)})
    twins, edge = (ablation.causal(run, a, ("down", 1), count=5) for a in (("down", 0), ("up", 0)))
    assert list(twins.columns) == ablation.CAUSAL_COLUMNS and twins["r"].is_monotonic_increasing and len(twins) == 5
    np.testing.assert_allclose(twins["agreement"], 1, atol=1e-5)
    assert (edge["agreement"] < 0.9).all()
    assert run.stages["causal-down0-down1"].inputs == ["features of down"]
    assert run.stages["causal-up0-down1"].inputs == ["features of up", "features of down"]
