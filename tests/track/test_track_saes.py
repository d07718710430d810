"""Two SAEs compared: three layouts of one, the same latents in another order, another SAE, twins, two models."""

import dataclasses
import json
import pickle

import networks
import pytest
import torch

from unifeat import __main__ as cli
from unifeat import lm, sae
from unifeat.sae import folders, formats

HOOK = "blocks.0.mlp.hook_post"
WRITERS = dict(unifeat=sae.save, saelens=formats.save_saelens, dictionary_learning=formats.save_dictionary_learning)


def make(seed=0, width=96, d=64, hook=HOOK, lm_hash="", kind="topk") -> sae.Sae:
    """A dictionary of random directions, which fires all the same."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(width, d, generator=generator))
    threshold = 0.5 if kind == "batchtopk" else 0.0
    return sae.Sae(kind, 6, w, torch.zeros(width), w.clone(), torch.zeros(d), 3.0, threshold, lm_hash, seed, 0.0, hook)


def shuffled(one: sae.Sae) -> sae.Sae:
    """The same latents in another order."""
    order = torch.randperm(one.width, generator=torch.Generator().manual_seed(1))
    return dataclasses.replace(one, w_enc=one.w_enc[order], w_dec=one.w_dec[order], b_enc=one.b_enc[order])


@pytest.fixture
def track(models, text, store, tmp_path, capsys):
    """Function from two SAEs (and layouts) to (exit status, card, what was printed)."""
    def run(a, b, *options, layouts=("unifeat", "unifeat"), model="base"):
        places = []
        for name, one, layout in zip("ab", (a, b), layouts, strict=True):
            places.append(tmp_path / f"{name}-{layout}")
            WRITERS[layout](one, places[-1])
        to = tmp_path / "to"
        about = ["--model", str(models[model])] if model else []
        status = cli.main(["track", *map(str, places), "--text", str(text), "--quick", "--to", str(to), *about,
                           *options])
        path = to / "card.json"
        return status, json.loads(path.read_text()) if path.is_file() else None, capsys.readouterr()
    return run


@pytest.mark.parametrize("layouts", [("unifeat", "saelens"), ("dictionary_learning", "unifeat")])
@pytest.mark.parametrize("kind", ["topk", "batchtopk", "relu"])
def test_the_same_latents_in_any_layout_and_order_persist(track, layouts, kind):
    one = make(kind=kind)
    status, card, _ = track(one, shuffled(one), layouts=layouts)
    persist = card["sides"]["persist"]
    assert status == 0 and card["kind"] == "sae" and persist["share"] > 0.97
    assert [one["layout"] for one in card["run"]["saes"]] == list(layouts)
    assert set(persist["nulls"]) == {"within_token", "rotated"} and max(persist["nulls"].values()) < 0.5
    assert persist["ceiling"] is None and persist["excess"] is None
    assert sum("No ceiling for A and B: give a twin" in line for line in card["warnings"]) == 1


def test_other_latents_do_not_persist_and_twins_give_the_ceiling(track, tmp_path):
    one, other = make(0), make(5, width=128)
    sae.save(shuffled(one), tmp_path / "twin a")
    sae.save(make(7, width=128), tmp_path / "twin 'b' 💥")
    status, card, out = track(one, other, "--twin-a", str(tmp_path / "twin "
                                                                     "a"), "--twin-b", str(tmp_path / "twin 'b' 💥"))
    survive, persist = card["sides"]["survive"], card["sides"]["persist"]
    assert status == 0 and survive["ceiling"] > 0.97 and persist["ceiling"] < 0.3 and survive["share"] < 0.3
    assert [one["of"] for one in card["run"]["saes"]] == ["A", "A (twin)", "B", "B (twin)"]
    assert card["vanished"]["found_by_twin"] == card["vanished"]["count"] > 0
    assert not any("No ceiling" in line for line in card["warnings"]) and "ceiling" in out.out


def test_two_models_of_different_sizes_are_read_each_by_its_own_sae(track, models, tmp_path):
    wide = networks.put(tmp_path / "wide", networks.network(
        type(networks.CONFIGS["gpt2"])(**networks.CONFIGS["gpt2"].to_dict() | dict(n_embd=24, n_head=2, n_inner=96))),
        networks.byte_level())
    status, card, _ = track(make(), make(1, d=96, hook="blocks.1.mlp.hook_post"), "--model-a", str(models["base"]),
                            "--model-b", str(wide), model="")
    assert status == 0 and len(card["run"]["models"]) == 2
    assert [one["hook"] for one in card["run"]["saes"]] == [HOOK, "blocks.1.mlp.hook_post"]


def test_an_sae_knows_its_model(track, models):
    own = lm.weights_hash(lm.load(models["base"]))
    assert track(make(lm_hash=own), make(1, lm_hash=own))[0] == 0
    status, _, out = track(make(lm_hash=own), make(1, lm_hash="0123456789abcdef"))
    assert status == 2 and "was trained on another model than" in out.err and "--model-b" in out.err


def test_an_sae_in_the_wrong_place_is_doubted(track):
    one = make()
    _, card, _ = track(one, dataclasses.replace(one, scale=300.0))
    assert any("The SAE B leaves" in line for line in card["warnings"])


def test_a_hook_that_no_file_names_is_asked_for(track):
    one = make()
    status, _, out = track(one, dataclasses.replace(one, hook=""))
    assert status == 2 and "does not say which activations it reads; say so with --hook" in out.err
    assert track(one, dataclasses.replace(one, hook=""), "--hook", HOOK)[0] == 0
    status, _, out = track(one, one, "--hook", "blocks.1.hook_mlp_out")
    assert status == 2 and f"reads {HOOK} and not --hook blocks.1.hook_mlp_out" in out.err


@pytest.mark.parametrize(("change", "words"), [
    (dict(), "is the same SAE as A"),
    (dict(seed=3, hook="blocks.1.mlp.hook_post"), "reads blocks.1.mlp.hook_post and A blocks.0"),
    (dict(seed=3, d=16), "reads activations of 16 numbers and A of 64"),
])
def test_a_twin_that_is_none_is_refused(track, tmp_path, change, words):
    sae.save(make(**change), tmp_path / "twin")
    status, _, out = track(make(), make(1), "--twin-a", str(tmp_path / "twin"))
    assert status == 2 and words in out.err and "\n" not in out.err.strip()


def test_a_pickle_that_is_more_than_tensors_is_not_opened(tmp_path):
    class Planted:
        def __reduce__(self):
            return (open, (str(tmp_path / "mark"), "w"))

    formats.save_dictionary_learning(make(), tmp_path / "sae")
    state = torch.load(tmp_path / "sae" / "ae.pt", weights_only=True)
    torch.save(state | dict(extra=Planted()), tmp_path / "sae" / "ae.pt")
    with pytest.raises(sae.SaeError, match="holds more than tensors"):
        folders.read(tmp_path / "sae")
    (tmp_path / "sae" / "ae.pt").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(sae.SaeError, match="cannot be loaded"):
        folders.read(tmp_path / "sae")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(("change", "words"), [
    (dict(dict_class="CrossCoder"), "its class is CrossCoder"), (dict(dict_size=97), "encoder.weight"),
    (dict(activation_dim=3), "encoder.weight")])
def test_a_dictionary_that_cannot_be_read_is_refused(tmp_path, change, words):
    formats.save_dictionary_learning(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["trainer"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(sae.SaeError, match=words):
        folders.read(tmp_path)


@pytest.mark.parametrize(("name", "io", "hook"), [
    ("model.layers.3.mlp.down_proj", "in", "blocks.3.mlp.hook_post"),
    ("gpt_neox.layers.2.mlp", "out", "blocks.2.hook_mlp_out"),
    ("transformer.h.11", "out", "blocks.11.hook_resid_post"), ("resid_post_layer_4", "out", "blocks.4.hook_resid_post"),
    ("attn.out_proj", "out", ""), ("model.layers.3.mlp", "in", "")])
def test_dictionary_learnings_places_have_names_here(tmp_path, name, io, hook):
    formats.save_dictionary_learning(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["trainer"]["submodule_name"], config["buffer"]["io"] = name, io
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert folders.read(tmp_path).hook == hook


def test_an_sae_that_never_fires_has_no_share(track):
    silent = dataclasses.replace(make(kind="relu"), b_enc=torch.full((96,), -1e4))
    status, card, out = track(make(), silent)
    assert status == 2 and card is None and "has no feature that fires often enough on this text" in out.err
