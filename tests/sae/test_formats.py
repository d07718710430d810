"""SAEs in other libraries' layouts and back, and the cards that go with them."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unifeat.sae import folders, formats, model, plain
from unifeat.sae.model import KINDS, Sae, SaeError

SAES = st.builds(lambda *a: make(*a), st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 12),
                 st.floats(0.05, 20), st.integers(0, 10_000))
FIXED = settings(max_examples=30, deadline=None, derandomize=True)  # a latent may stand on the edge of a threshold


def make(kind="topk", d=5, width=12, scale=1.7, seed=0) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(torch.randn(width, d, generator=generator))
    w_enc, b_enc, b_dec = (torch.randn(shape, generator=generator) for shape in ((width, d), (width,), (d,)))
    return Sae(kind, 1 + seed % width, w_enc, b_enc, w_dec, b_dec, scale, 0.7 if kind == "batchtopk" else 0.0,
               "0123456789abcdef", seed, 0.25)


def inputs(d=5, n=20):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(7))


def both(one: Sae, x: torch.Tensor):
    """Latents and reconstructions in float64, as the docstring of Sae states them."""
    f = plain.encode(one, x)
    return f, plain.decode(one, f)


def agree(one: Sae, other: Sae, scale: float):
    """`other` gives the latents of `one` divided by `scale`, and its reconstructions."""
    x = inputs(one.w_enc.shape[1])
    (f, x_hat), (g, y) = both(one, x), both(other, x)
    torch.testing.assert_close(g * scale, f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(y, x_hat, rtol=1e-4, atol=1e-4 / scale)


@FIXED
@given(SAES)
def test_the_scale_folds_into_biases_and_threshold(one):
    agree(one, formats.folded(one), one.scale)
    assert formats.folded(one).scale == 1 and torch.equal(formats.folded(one).w_dec, one.w_dec)


@FIXED
@given(one=SAES)
def test_saelens_and_back(one, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saelens")
    formats.save_saelens(one, folder, "me/model")
    back = formats.load_saelens(folder)
    agree(one, back, one.scale)
    facts = ("kind", "k", "lm_hash", "seed", "dead_share", "width")
    assert [getattr(back, name) for name in facts] == [getattr(one, name) for name in facts]
    config, tensors = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    assert config["metadata"]["model_name"] == "me/model"
    assert (config["d_in"], config["d_sae"]) == tensors["W_enc"].shape == tensors["W_dec"].T.shape
    assert ("threshold" in tensors) == (config["architecture"] == "jumprelu")


@FIXED
@given(one=SAES)
def test_dictionary_learnings_own_formula_gives_the_latents(one, tmp_path_factory):
    """Its encode, written from its sources: relu(W (x - b) + c), then the k largest or those above a threshold."""
    folder, x = tmp_path_factory.mktemp("dictionary"), inputs(one.w_enc.shape[1])
    formats.save_dictionary_learning(one, folder)
    state = torch.load(folder / "ae.pt", weights_only=True)
    trainer = json.loads((folder / "config.json").read_text())["trainer"]
    bias = state["bias" if trainer["dict_class"] == "AutoEncoder" else "b_dec"]
    f = ((x - bias) @ state["encoder.weight"].T + state["encoder.bias"]).relu()
    if trainer["dict_class"] == "AutoEncoderTopK":
        top = f.topk(state["k"])
        f = torch.zeros_like(f).scatter_(1, top.indices, top.values)
    if trainer["dict_class"] == "BatchTopKSAE":
        f = f * (f > state["threshold"])
    wanted, x_hat = both(one, x)
    torch.testing.assert_close(f.double() * one.scale, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((f @ state["decoder.weight"].T + bias).double(), x_hat, rtol=1e-4,
                               atol=1e-4 / one.scale)
    assert (trainer["activation_dim"], trainer["dict_size"], trainer["k"]) == (*state["decoder.weight"].shape, one.k)


def change(folder, config=None, **tensors):
    """Edit a SAELens folder: `config` and `tensors` by name, None to drop one."""
    found = json.loads((folder / "cfg.json").read_text()) | (config or {})
    (folder / "cfg.json").write_text(json.dumps(found))
    weights = load_file(folder / "sae_weights.safetensors") | tensors
    save_file({name: value for name, value in weights.items() if value is not None},
              folder / "sae_weights.safetensors")


def test_an_encoder_without_b_dec_and_scaling_by_decoder_norms_are_folded_in(tmp_path):
    one, x = make("topk"), inputs()
    formats.save_saelens(one, tmp_path)
    w_dec = one.w_dec * torch.linspace(0.2, 3, 12)[:, None]
    change(tmp_path, dict(apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=True), W_dec=w_dec)
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    z = (x @ tensors["W_enc"] + tensors["b_enc"]) * w_dec.norm(dim=1)
    top = z.topk(one.k)
    f = torch.zeros_like(z).scatter_(1, top.indices, top.values.relu())
    found, x_hat = both(formats.load_saelens(tmp_path), x)
    torch.testing.assert_close(found.float(), f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x_hat.float(), f / w_dec.norm(dim=1) @ w_dec + tensors["b_dec"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("config", "tensors", "words"), [
    (dict(architecture="poem"), {}, "its architecture is poem"),
    (dict(normalize_activations="layer_norm"), {}, "its normalize_activations is layer_norm"),
    (dict(reshape_activations="hook_z"), {}, "its reshape_activations is hook_z"),
    (dict(metadata={}), {}, "it was saved before SAELens 6"),
    (dict(metadata=dict(sae_lens_version="5.11.0")), {}, "it was saved before SAELens 6"),
    ({}, dict(b_enc=None), r"its tensor b_enc is missing, not finite or not of shape \(12,\)"),
    ({}, dict(W_dec=torch.zeros(12, 4)), "its tensor W_dec is missing, not finite"),
    ({}, dict(b_dec=torch.full((5,), math.nan)), "its tensor b_dec is missing, not finite"),
    (dict(d_sae=13), {}, "its tensor W_enc is missing"),
])
def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path, config, tensors, words):
    formats.save_saelens(make("batchtopk"), tmp_path)
    change(tmp_path, config, **tensors)
    with pytest.raises(SaeError, match=words) as caught:
        formats.load_saelens(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_refused(tmp_path):
    formats.save_saelens(make(), tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"no weights")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(SaeError, match="cannot be loaded"):
            formats.load_saelens(folder)


def test_a_card_shows_numbers_to_four_digits_and_links_its_base_models():
    frame = pd.DataFrame(dict(model="lua", kind="topk", seed=0, arm="controlled", fvu=[0.123456]))
    texts = pd.DataFrame(dict(domain="lua", split=["train", "validation"], source="s", version="1", licence="MIT",
                              documents=3, bytes=9))
    card = ModelCard(formats.sae_card("lua", "saelens", "About it.", texts, frame, ["me/lua"]))
    assert card.data.base_model == ["me/lua"] and "| topk | 0 | 0.1235 |" in card.text
    assert card.text.count("| lua | s | 1 | MIT | 3 | 9 |") == 1


OTHERS = sorted((Path(__file__).parent / "others").iterdir())


@pytest.mark.parametrize("folder", OTHERS, ids=lambda folder: folder.name)
def test_saes_that_the_real_packages_saved_give_their_latents_here(folder, tmp_path):
    """Written by tests/sae/make_others.py; what is read is saved by us, and in both layouts again, and read back."""
    said = {name: torch.tensor(value) for name, value in json.loads((folder / "latents.json").read_text()).items()}
    one = folders.read(folder)
    assert (said["latents"] > 0).float().mean() > 0.05
    save_here, lens, dictionary = (tmp_path / name for name in ("ours", "lens", "dictionary"))
    model.save(one, save_here)
    one.hook = one.hook or "blocks.2.hook_resid_post"
    formats.save_saelens(one, lens)
    formats.save_dictionary_learning(one, dictionary)
    for place in (folder, save_here, lens, dictionary):
        f, x_hat = both(folders.read(place), said["x"])
        torch.testing.assert_close(f.float(), said["latents"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(x_hat.float(), said["reconstructed"], rtol=1e-4, atol=1e-4)
    assert folders.read(folder).encode(said["x"]).shape == said["latents"].shape


@pytest.mark.parametrize(("kind", "config", "tensors", "words"), [
    ("standard", {}, dict(threshold=torch.zeros(14)), "its tensor threshold has no place in such an SAE"),
    ("standard", {}, dict(scaling_factor=torch.ones(14)), "its tensor scaling_factor has no place"),
    ("jumprelu", {}, dict(W_skip=torch.zeros(6, 6)), "its tensor W_skip has no place"),
    ("jumprelu", {}, dict(threshold=None), "its tensor threshold is missing"),
    ("gated", {}, dict(b_gate=None), "its tensor b_gate is missing"),
    ("topk", dict(k=None), {}, "its k is None and its latents are 14"), ("topk", dict(k=0), {}, "its k is 0"),
    ("topk", dict(k=15), {}, "its k is 15 and its latents are 14"),
    ("standard", dict(architecture="matryoshka_batchtopk"), {}, "its architecture is matryoshka_batchtopk"),
    ("standard", dict(architecture="transcoder"), {}, "its architecture is transcoder")])
def test_what_of_the_real_packages_has_no_place_here_is_refused(kind, config, tensors, words, tmp_path):
    folder = shutil.copytree(Path(__file__).parent / "others" / f"saelens-{kind}", tmp_path / "sae")
    change(folder, config, **tensors)
    with pytest.raises(SaeError, match=words) as caught:
        folders.read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "edit", "words"), [
    ("AutoEncoderTopK", lambda state, trainer: trainer.update(k=15) or state.pop("k"), "its k is not a number of lat"),
    ("AutoEncoderTopK", lambda state, trainer: [trainer.pop("k"), state.pop("k")], "its k is not a number of latents"),
    ("AutoEncoder", lambda state, trainer: state.update(scaling_factor=torch.ones(14)), "scaling_factor has no place"),
    ("AutoEncoder", lambda state, trainer: trainer.update(dict_class="CrossCoder"), "its class is CrossCoder"),
    ("BatchTopKSAE", lambda state, trainer: state.pop("threshold"), "threshold")])
def test_dictionaries_that_would_compute_another_number_are_refused(name, edit, words, tmp_path):
    folder = shutil.copytree(Path(__file__).parent / "others" / f"dictionary_learning-{name}", tmp_path / "sae")
    state, config = torch.load(folder / "ae.pt"), json.loads((folder / "config.json").read_text())
    edit(state, config["trainer"])
    torch.save(state, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SaeError, match=words) as caught:
        folders.read(folder)
    assert "\n" not in str(caught.value)
