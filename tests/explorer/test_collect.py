"""What the explorer holds of a feature, against plain loops."""

import base64
from types import SimpleNamespace

import explorer_data
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from unifeat.explorer import collect, encoding
from unifeat.matching import comparison
from unifeat.matching.comparison import Comparison
from unifeat.support import store


def test_shades_are_shares_of_the_maximum():
    column = sparse.csc_matrix(np.array([[0.0], [2.0], [0.0], [4.0], [1e-6]]))
    assert encoding.shade(column, 0, np.array([3, 1, 0, -1, 4]), 4.0) == "zi001"
    assert encoding.shade(sparse.csc_matrix((5, 1)), 0, np.array([1, 2]), 0.0) == "00"


def test_scatter_pairs_both_activations_token_by_token():
    a = sparse.csc_matrix(np.array([[0.0], [2.0], [0.0], [4.0]]))
    b = sparse.csc_matrix(np.array([[0.0], [0.0], [3.0], [3.0]]))
    found = encoding.scatter(a, 0, 4.0, b, 0, 3.0)
    assert {found[i:i + 2] for i in range(0, len(found), 2)} == {"i0", "0z", "zz"}


@pytest.mark.parametrize("size", [0, 1, 7, 3000])
def test_ranks_are_those_of_a_stable_sort_with_many_ties(size):
    x = np.random.default_rng(size).integers(0, 40, size) / 8
    ranks = np.arange(0, size, 3)
    assert (encoding._ranked(x, ranks) == np.argsort(x, kind="stable")[ranks]).all()


def test_contexts_hold_the_strongest_token_of_different_documents():
    text = dict(block=np.repeat([0, 1], 40), position=np.tile(np.arange(40), 2), document=np.repeat([0, 1, 2, 3], 20))
    values = np.arange(80.0)
    places, tops = collect._contexts(np.arange(80), values, text, 40)
    assert tops == 3 and len(places) == 6
    assert [(block, start + peak) for block, start, peak in places[:3]] == [(1, 39), (1, 19), (0, 39)]
    assert all(0 <= start <= 40 - collect.WIDTH for _, start, _ in places)


def test_logit_effect_is_what_the_model_does_with_the_decoder_row(monkeypatch):
    import torch

    from unifeat import lm
    from unifeat.lineage.reading import read

    torch.manual_seed(0)
    config = read("smoke").model
    model = lm.build(config, 64, 16)
    w_dec = torch.nn.functional.normalize(torch.randn(3, config.d_mlp), dim=1)
    one = SimpleNamespace(seed=0, hook=lm.HOOK, w_dec=w_dec)
    run = SimpleNamespace(sae=lambda name, seed: one, model=lambda name: model, lineage=read("smoke"),
                          corpus=SimpleNamespace(tokenizer=range(64)))
    up, down = collect._effects(run, "base", np.array([0, 2]))
    for row, j in enumerate((0, 2)):  # the residual stream is the feature's write alone
        residual = model.model.layers[0].mlp.down_proj(one.w_dec[j])
        logits = model.lm_head(model.model.norm(residual[None]))[0].detach()
        logits[0] = 0
        assert up[row].tolist() == logits.argsort(descending=True)[:collect.TOKENS].tolist()
        assert down[row].tolist() == logits.argsort()[:collect.TOKENS].tolist()


def test_partners_read_a_comparison_from_either_side():
    table = dict(best_of_a=np.array([1, 0]), r_of_a=np.array([0.9, 0.3]), best_of_b=np.array([1, 0]),
                 r_of_b=np.array([0.3, 0.9]), assigned=np.array([[0, 1], [1, 0]]), r_assigned=np.array([0.9, 0.3]))
    one = Comparison(("base", 0), ("lua", 1), np.array([5, 8]), np.array([2, 7]), table)
    assert collect._partners(one, 0, 0.8) == {5: (7, 0.9, True), 8: (2, 0.3, False)}
    assert collect._partners(one, 1, 0.8) == {2: (8, 0.3, False), 7: (5, 0.9, True)}


@pytest.mark.parametrize("shape, name, found", [
    ("diamond", "base", {"lua", "stories", "merged"}), ("single", "only", set()),
    ("unrelated", "two", {"one", "three"}),
    ("star", "root", {f"child{i}" for i in range(1, 7)}), ("star", "child4", {"root", "child1", "child2"}),
    ("long", "a", {"b", "c", "d"}), ("long", "e", {"d", "f", "c"})])
def test_activations_of_relatives_stand_beside_a_features_own(shape, name, found):
    assert collect.near(explorer_data.lineage(shape), name) == found


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A chain of three models with drawn features of two domains' text."""
    p = explorer_data.lineage("chain", domains=("x", "y"))
    rng = np.random.default_rng(0)
    blocks = rng.integers(1, 9, (6, 30))
    block, position = np.nonzero(blocks)
    text = dict(blocks=blocks, block=block, position=position, document=block // 2, domain=block // 3,
                token=blocks[block, position])
    shared = rng.gamma(1, 1, (180, 5)) * (rng.random((180, 5)) < 0.3)
    drawn = {(name, seed): sparse.csr_matrix(shared * (1 + 0.05 * rng.random(shared.shape)))
             for name in p.names for seed in p.sae.seeds}

    def compare(a, b):
        return Comparison(a, b, np.arange(5), np.arange(5), comparison.compare(
            drawn[a], drawn[b], text, 3, 0, with_null=False))

    lexical = pd.DataFrame(dict(feature=range(5), explanation="a word", simulation=0.5, detection=np.nan))
    monkeypatch.setattr(collect.groups, "lexical", lambda run, name: lexical)
    monkeypatch.setattr(collect.bpe, "token_text", lambda tokens, i: ["\n", b"\xc3", " a"][i % 3])
    monkeypatch.setattr(collect, "_effects", lambda run, name, ids: (np.full((len(ids), 8), 1),) * 2)
    return SimpleNamespace(
        lineage=p, comparison_text=text, features=lambda name, seed: drawn[name, seed], corpus_stage=None,
        live=lambda name, seed: np.arange(5), compare=compare, corpus=SimpleNamespace(tokenizer=range(9)),
        feature_stage=lambda name: None, stage=lambda name, build, config, inputs: store.make(
            tmp_path, name, build, config=config))


def test_the_stage_holds_every_feature_as_the_activations_say(run):
    found = collect.data(run)
    assert collect.data(run) == found  # from the store
    text, model = run.comparison_text, found["models"]["b"]
    assert list(found["models"]) == ["a", "b", "c"] and model["live"] == 5 and model["seed"] == 1
    assert found["block_domain"] == [0, 0, 0, 1, 1, 1] and found["vocab"][:3] == ["↵", "⟨0xC3⟩", " a"]
    read = np.frombuffer(base64.b64decode(found["blocks"]), "<u2").reshape(6, 30)
    assert (read == text["blocks"]).all()
    own = run.features("b", 1).toarray()
    for j, f in enumerate(model["features"]):
        assert f["id"] == j and f["fires"] == (own[:, j] > 0).sum()
        assert f["max"] == pytest.approx(own[:, j].max(), abs=0.01)
        assert f["density"] == pytest.approx([(own[text["domain"] == d, j] > 0).mean() for d in (0, 1)], rel=0.01)
        assert [own[at + peak, j] for at, peak in zip(f["at"], f["peak"], strict=True)][0] == own[:, j].max()
        assert set(f["match"]) == {"a", "c", "twin"} and f["match"]["a"][0] == j and f["match"]["a"][2] == 1
        window = np.concatenate([np.arange(at, at + collect.WIDTH) for at in f["at"]])
        for shade, (name, seed) in zip(f["shade"], (("b", 1), ("a", 0), ("c", 0)), strict=True):
            column = run.features(name, seed).toarray()[:, j]
            assert [int(c, 36) for c in shade] == np.ceil(column[window] / column.max() * 35).tolist()
        assert f["told"] == [["lexical", "a word", 0.5, None]] and f["up"] == [1] * 8


def test_many_features_are_thinned_out_evenly_over_density(run, monkeypatch):
    monkeypatch.setattr(collect, "MOST", 9)  # three of each of three models
    order = np.argsort((run.features("b", 1) > 0).sum(0)).tolist()[0]
    found = [f["id"] for f in collect.data(run)["models"]["b"]["features"]]
    assert found == sorted(order[i] for i in (0, 2, 4))
