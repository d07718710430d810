"""What decoders, encoders and logit effects say of a match, on dictionaries whose shared rows are planted."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from unifeat import lm, matching, sae
from unifeat.lineage import read
from unifeat.lineage.settings import Model
from unifeat.matching.comparison import Comparison
from unifeat.studies import baselines, pair_agreement, weight_matching

TINY = Model(layers=1, d_model=16, d_mlp=24, heads=2, kv_heads=1, norm_eps=1e-6, rope_theta=1e4, seed=0)


@pytest.fixture(scope="module")
def model():
    return lm.build(TINY, vocab=50, context=12)


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


@pytest.fixture
def dictionaries(tmp_path, monkeypatch):
    """A run whose SAEs hold 24 neurons, 6 dense directions that all share, and 6 that are theirs alone.

    The untrained model's SAE has the neurons and nothing else in common with them.
    """
    p = read("smoke")
    p = dataclasses.replace(p, model=TINY)

    def directions(seed):
        return torch.randn(6, 24, generator=torch.Generator().manual_seed(seed))

    def one(seed, parts, model):
        rows = torch.nn.functional.normalize(torch.cat([torch.eye(24), *parts]), dim=1)
        return sae.Sae("topk", 2, rows, torch.zeros(36), rows.clone(), torch.zeros(24), 1.0, seed=seed,
                       lm_hash=lm.weights_hash(model))

    models = {name: lm.build(TINY, vocab=50, context=12) for name in p.names}
    saes = {name: [one(seed, [directions(1), directions(100 + 10 * k + seed)], models[name]) for seed in p.sae.seeds]
            for k, name in enumerate(p.names)}
    table = dict(assigned=np.tile(np.arange(36)[:, None], 2), r_assigned=np.repeat([1.0, 0.0], [30, 6]))
    every = table | {"null.one_to_one.child": np.zeros(len(matching.TAUS))}
    untrained = lm.build(dataclasses.replace(TINY, seed=1), vocab=50, context=12)
    sae.save(one(0, [directions(200), directions(201)], untrained), tmp_path / "sae")
    sparse.save_npz(tmp_path / "features.npz", sparse.csr_matrix(np.ones((p.comparison.min_fires, 36))))
    monkeypatch.setattr(baselines, "random_saes", lambda run: SimpleNamespace(folder=tmp_path))
    monkeypatch.setattr(baselines, "random", lambda run, child: table | dict(r_assigned=np.zeros(36)))
    def compare(a, b):
        return Comparison(a, b, np.arange(36), np.arange(36), every)

    return SimpleNamespace(lineage=p, model=models.get, saes=saes.get, live=lambda name, seed: np.arange(36),
                           compare=compare, twins=lambda name: [compare((name, 0), (name, 1))],
                           untrained=lambda: untrained)


def test_shares_of_planted_dictionaries_and_their_nulls(dictionaries):
    """Neurons match however they are permuted, and are all that an untrained model shares; a rotation matches none."""
    frame = pd.DataFrame(weight_matching._rows(weight_matching._Weights(dictionaries), ("base", "lua")))
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
    told = weight_matching.answer(frame)
    assert "83.3%" in told and "of the 33% that are not one neuron, 50.0%" in told


def test_an_untrained_model_of_other_weights_is_refused(dictionaries):
    dictionaries.untrained = lambda: lm.build(dataclasses.replace(TINY, seed=5), vocab=50, context=12)
    with pytest.raises(sae.SaeError, match="trained on another model"):
        weight_matching._Weights(dictionaries)
