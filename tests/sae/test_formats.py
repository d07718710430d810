"""SAEs in other libraries' layouts and back, and the cards that go with them."""

import json
import math

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unifeat.sae import formats, plain
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
    (dict(architecture="gated"), {}, "its architecture is gated"),
    (dict(normalize_activations="layer_norm"), {}, "its normalize_activations is layer_norm"),
    (dict(reshape_activations="hook_z"), {}, "its reshape_activations is hook_z"),
    (dict(metadata={}), {}, "it was saved before SAELens 6"),
    (dict(metadata=dict(sae_lens_version="5.11.0")), {}, "it was saved before SAELens 6"),
    ({}, dict(b_enc=None), r"its tensor b_enc is missing, not finite or not of shape \(12,\)"),
    ({}, dict(W_dec=torch.zeros(12, 4)), "its tensor W_dec is missing, not finite"),
    ({}, dict(b_dec=torch.full((5,), math.nan)), "its tensor b_dec is missing, not finite"),
    ({}, dict(threshold=torch.arange(12.0)), "its thresholds differ between latents"),
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
