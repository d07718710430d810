"""Verdicts beside activation correlation, against hand values and a literal ablation."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from unifeat import lm, matching, plots, sae
from unifeat.lineage import settings
from unifeat.lineage.settings import MODELS, Model
from unifeat.matching.comparison import Comparison
from unifeat.plots import agreement
from unifeat.studies import ablation, baselines, pair_agreement, persistence, weight_matching

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
    residual = ablation.residuals(model, blocks)
    tolerance = 1e-4 if lm.compute_dtype() == torch.float32 else 0.02
    got = ablation.ablate(model, residual, f[torch.from_numpy(kept)], direction)
    np.testing.assert_allclose(got, want, atol=tolerance)
    assert got.abs().max() > 0.05


def test_logit_effect_is_the_slope_of_a_small_ablation_up_to_the_norm(model, blocks):
    """Without the norm's own reaction the change is -(f / rms) times the effect; compared where they must agree."""
    direction = torch.randn(24, generator=torch.Generator().manual_seed(1))
    effect = pair_agreement.logit_effects(model, direction[None])
    by_hand = model.lm_head.weight @ (model.model.norm.weight * (lm.hook_module(model).weight @ direction))
    np.testing.assert_allclose(effect[0].detach(), by_hand.detach(), atol=1e-5)


def test_pearson_rows_against_numpy():
    a, b = torch.randn(4, 30), torch.randn(4, 30)
    want = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pair_agreement.pearson_rows(a, b), want, atol=1e-6)
    assert np.isnan(pair_agreement.pearson_rows(torch.ones(1, 5), torch.randn(1, 5))[0])


def test_agreement_by_hand():
    """Four pairs, two verdicts equal on three of them: same 0.75, chance 0.5, kappa 0.5."""
    found = pd.DataFrame(dict(r=[0.9, 0.9, 0.1, 0.2], decoder=[0.9, 0.2, 0.1, 0.3], encoder=[0.9, 0.85, 0.0, 0.1],
                              logits=[0.9, 0.2, 0.9, 0.1]))
    rows = pair_agreement.agreement(found, 0.8).set_index("verdict")
    assert rows.loc["decoder", "same"] == 0.75 and rows.loc["decoder", "kappa"] == pytest.approx(0.5)
    assert rows.loc["encoder", "kappa"] == 1 and rows.loc["logits", "kappa"] == 0


def test_rotation_keeps_lengths_and_mean_and_moves_axes():
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(2)) + 3
    y = baselines.rotate(x, 0)
    np.testing.assert_allclose(y.mean(0), x.mean(0), atol=1e-5)
    np.testing.assert_allclose((y - y.mean(0)).norm(dim=1), (x - x.mean(0)).norm(dim=1), rtol=1e-4)
    assert torch.equal(y, baselines.rotate(x, 0)) and not torch.allclose(y, baselines.rotate(x, 1))
    r = np.corrcoef(x.T, y.T)[:8, 8:]
    assert np.abs(r).max() < 0.95


def test_cosines_through_effects_are_the_correlations_of_the_effects_themselves(model):
    x, y = torch.randn(3, 24, generator=torch.Generator().manual_seed(3)), torch.eye(24)
    effects = pair_agreement.logit_effects(model, y)
    effect = effects - effects.mean(1, keepdim=True)
    gram = effect @ effect.T
    got = weight_matching.unit(x, gram) @ gram @ weight_matching.unit(y, gram).T
    want = [pair_agreement.pearson_rows(pair_agreement.logit_effects(model, row.expand(24, 24)), effects) for row in x]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_neurons_are_the_same_until_they_are_permuted(model):
    other = lm.build(TINY, vocab=50, context=12)
    other.load_state_dict(model.state_dict())
    assert weight_matching.same_neurons(model, other) == 1
    lm.hook_module(other).weight.data = lm.hook_module(other).weight.data.roll(1, dims=1)
    assert weight_matching.same_neurons(model, other) < 0.2


def test_share_by_hand():
    """Of four features one is not counted and one is left out; drawing the last twice makes 2 of 3."""
    parts, kept = [(0, np.array([0.9, np.nan, 0.1, 0.8]))], {0: np.array([False, True, True, True])}
    found, drawn = weight_matching.share(parts, kept, {0: np.array([[1, 1, 1, 1], [1, 1, 1, 2], [0, 1, 1, 0]])}, 0.8)
    assert found == 0.5 and drawn.tolist() == [2 / 3, 0]
    assert np.isnan(weight_matching.share([], kept, {0: np.ones((1, 4))}, 0.8)[0])


def test_same_partner_by_hand(monkeypatch):
    """Decoders and activations choose the same parent for two of the three features that reach tau; twins always do."""
    def one(table):
        return Comparison(("base", 0), ("lua", 1), np.arange(4), np.arange(4), table)

    dictionaries = {"base": torch.eye(4), "lua": torch.eye(4)[[1, 0, 2, 3]]}
    run = SimpleNamespace(profile=settings.load("smoke"),
                          sae=lambda name, seed: SimpleNamespace(w_dec=dictionaries[name]))
    twin = one(dict(r_of_b=np.ones(4), best_of_b=np.array([1, 0, 2, 3])))
    monkeypatch.setattr(persistence, "twins", lambda run, name: [twin, twin])
    found = pair_agreement.partners(run, one(dict(r_of_b=np.array([0.9, 0.9, 0.9, 0.1]), best_of_b=np.array([1, 0, 3, 3]))),
                              0.8)
    assert found["observed"] == pytest.approx(2 / 3) and found["ceiling"] == 1 and found["null"] < 2 / 3
    nothing = pair_agreement.partners(run, one(dict(r_of_b=np.zeros(4), best_of_b=np.zeros(4, int))), 0.8)
    assert np.isnan(nothing["observed"]) and np.isnan(nothing["null"])


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A run whose SAEs hold 24 neurons, 6 dense directions that all share, and 6 that are theirs alone.

    The untrained model's SAE has the neurons and nothing else in common with them.
    """
    p = settings.load("smoke")
    p = dataclasses.replace(p, model=TINY)

    def directions(seed):
        return torch.randn(6, 24, generator=torch.Generator().manual_seed(seed))

    def one(seed, parts, model):
        rows = torch.nn.functional.normalize(torch.cat([torch.eye(24), *parts]), dim=1)
        return sae.Sae("topk", 2, rows, torch.zeros(36), rows.clone(), torch.zeros(24), 1.0, seed=seed,
                       lm_hash=lm.weights_hash(model))

    models = {name: lm.build(TINY, vocab=50, context=12) for name in MODELS}
    saes = {name: [one(seed, [directions(1), directions(100 + 10 * k + seed)], models[name]) for seed in p.sae.seeds]
            for k, name in enumerate(MODELS)}
    table = dict(assigned=np.tile(np.arange(36)[:, None], 2), r_assigned=np.repeat([1.0, 0.0], [30, 6]))
    every = table | {"null.one_to_one.child": np.zeros(len(matching.TAUS))}
    untrained = lm.build(dataclasses.replace(TINY, seed=1), vocab=50, context=12)
    sae.save(one(0, [directions(200), directions(201)], untrained), tmp_path / "sae")
    sparse.save_npz(tmp_path / "features.npz", sparse.csr_matrix(np.ones((p.comparison.min_fires, 36))))
    monkeypatch.setattr(baselines, "random_saes", lambda run: SimpleNamespace(folder=tmp_path))
    monkeypatch.setattr(baselines, "random", lambda run, child: table | dict(r_assigned=np.zeros(36)))
    return SimpleNamespace(profile=p, model=models.get, saes=saes.get, live=lambda name, seed: np.arange(36),
                           compare=lambda a, b: Comparison(a, b, np.arange(36), np.arange(36), every),
                           untrained=lambda: untrained)


def test_shares_of_planted_dictionaries_and_their_nulls(planted):
    """Neurons match however they are permuted, and are all that an untrained model shares; a rotation matches none."""
    frame = pd.DataFrame(weight_matching._rows(weight_matching._Weights(planted), ("base", "lua")))
    assert set(frame.columns) == set(weight_matching.COLUMNS)
    rows = frame.set_index(["features", "matched_by", "verdict"])
    for by in ("r", "decoder"):
        one = rows.loc["all", by, "decoder"]
        assert one[["observed", "ceiling"]].tolist() == pytest.approx([30 / 36] * 2)
        assert one[["neurons", "null", "untrained"]].tolist() == pytest.approx([24 / 36] * 3)
        assert one["rotated"] == 0 and one["strangers"] < 0.2 and one["excess"] == pytest.approx(1)
        assert one["ci_low"] < one["observed"] < one["ci_high"]
        rest = rows.loc["beyond one neuron", by, "decoder"]
        assert rest[["share", "observed", "ceiling"]].tolist() == pytest.approx([12 / 36, 0.5, 0.5])
        assert rest["neurons"] == rest["untrained"] == 0
    r = rows.loc["all", "r", "r"]
    assert (r["observed"], r["null"], r["untrained"]) == (pytest.approx(30 / 36), 0, 0) and np.isnan(r["neurons"])
    assert "83.3%" in weight_matching.answer(frame) and "of the 33% that are not one neuron, 50.0%" in weight_matching.answer(frame)


def test_an_untrained_model_of_other_weights_is_refused(planted):
    planted.untrained = lambda: lm.build(dataclasses.replace(TINY, seed=5), vocab=50, context=12)
    with pytest.raises(sae.SaeError, match="trained on another model"):
        weight_matching._Weights(planted)


def test_figures_survive_gaps(tmp_path):
    edges = {("base", "lua"): pd.DataFrame(dict(r=[0.1, 0.9], decoder=[0.2, 0.8], encoder=0.1, logits=np.nan))}
    effects = {("base", "lua"): pd.DataFrame(dict(r=[0.1, 0.9], agreement=[np.nan, 0.8], random=0.0))}
    table = pd.DataFrame([("base", 0, "base", 0.1, 0.95), ("base", 0, "lua", 0.4, -0.5), ("lua", 0, "lua", 0.1, 0.9)],
                         columns=["sae_model", "seed", "model", "fvu", "ce_recovered_mean"])
    empty = dict.fromkeys(weight_matching.COLUMNS, np.nan) | dict(edge="base → lua", features="all", matched_by="r")
    shares = pd.DataFrame([empty | dict(verdict=name, observed=0.5) for name in weight_matching.VERDICTS])
    for name, fig in (("v", agreement.verdicts(edges, effects, shares, note="n")), ("s", agreement.swap(table)),
                      ("e", agreement.verdicts({}, {}, shares[:0])), ("t", agreement.swap(table[:0]))):
        assert all(path.stat().st_size > 1000 for path in plots.write(fig, tmp_path / name))


def test_names_of_profiles_are_what_the_stages_expect():
    assert settings.load("smoke").model.layers == 1, "the causal check is exact in a one-layer model only"
