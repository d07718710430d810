"""The sparse autoencoder: its equations, its files, what is refused."""

import dataclasses
import math

import patches
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saes import SMOKE, inputs, make
from safetensors.torch import save_file

from unifeat import lm, sae
from unifeat.sae import plain


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    patches.float32(monkeypatch)


def test_encode_and_decode_by_hand():
    one = sae.Sae("relu", 1, torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([0.0, 0.5]),
                  torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([1.0, 0.0]), scale=2.0)
    f = one.encode(torch.tensor([[1.0, 1.0], [0.0, -1.0]]))  # s x - b_dec = (1, 2), (-1, -2)
    assert f.tolist() == [[1.0, 0.0], [0.0, 2.5]]
    assert one.decode(f).tolist() == [[1.0, 0.0], [0.5, -1.25]]


@pytest.mark.parametrize("kind", sae.KINDS)
@pytest.mark.parametrize("n", [0, 1, 16, 2 * sae.ROWS + 1])
def test_encode_and_decode_equal_their_plain_twins(kind, n):
    one, x = dataclasses.replace(make(kind), threshold=0.4 if kind == "batchtopk" else 0.0), inputs(n)
    f = one.encode(x)
    torch.testing.assert_close(f.double(), plain.encode(one, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.decode(f).double(), plain.decode(one, f), rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(st.sampled_from(sae.KINDS), st.integers(1, 12), st.floats(0, 2), st.integers(0, 2**32 - 1))
def test_the_activation_function_equals_its_plain_twin(kind, k, threshold, seed):
    z = torch.randn(9, 12, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(sae.act(z, kind, k, threshold), plain.act(z, kind, k, threshold))


def test_topk_keeps_its_number():
    assert ((make("topk").encode(inputs(200)) > 0).sum(1) <= 3).all()


def test_on_another_device_it_is_the_same_sae():
    one = dataclasses.replace(make(), lm_hash="abc", dead_share=0.5)
    assert one.to(torch.device("cpu")).lm_hash == "abc" and one.to(torch.device("meta")).w_dec.is_meta
    assert not one.w_dec.is_meta and one.width == 12


# Files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sae.KINDS)
def test_save_and_load_are_the_identity(tmp_path, kind):
    one = dataclasses.replace(make(kind), threshold=0.25, lm_hash="abc", dead_share=0.5, hook="blocks.1.hook_mlp_out")
    sae.save(one, tmp_path)
    again = sae.load(tmp_path)
    for field in dataclasses.fields(one):
        mine, other = (getattr(each, field.name) for each in (one, again))
        assert torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine == other, field.name
    assert torch.equal(again.encode(inputs()), one.encode(inputs()))


@pytest.mark.parametrize(("name", "value", "problem"), [
    ("w_dec", torch.ones(3, 3), "shapes that do not fit"), ("b_enc", torch.full((12,), math.nan), "not finite"),
    ("kind", "gelu", "kind is none of"), ("k", 0, "k is not"), ("k", 2.5, "k is not"), ("k", 13, "k is not"),
    ("scale", 0.0, "scale is not"), ("threshold", math.nan, "threshold is no"), ("w_dec", None, "not float32"),
    ("hook", None, "hook point")])
def test_damaged_saes_are_refused(tmp_path, name, value, problem):
    one = make()
    value = one.w_dec.half() if name == "w_dec" and value is None else value
    sae.save(dataclasses.replace(one, **{name: value}), tmp_path)
    with pytest.raises(sae.SaeError, match=problem) as caught:
        sae.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_tensors_are_refused(tmp_path):
    with pytest.raises(sae.SaeError, match="cannot be loaded"):
        sae.load(tmp_path / "nothing")
    sae.save(make(), tmp_path)
    save_file({"w_enc": make().w_enc}, tmp_path / "sae.safetensors")
    with pytest.raises(sae.SaeError, match="cannot be loaded"):
        sae.load(tmp_path)


def test_an_sae_of_another_model_is_refused_and_may_be_used_without_one(tmp_path):
    model = lm.build(SMOKE.model, 300, 32)
    sae.save(dataclasses.replace(make(), lm_hash=lm.weights_hash(model)), tmp_path)
    assert sae.load(tmp_path, model).width == 12
    other = lm.build(dataclasses.replace(SMOKE.model, seed=1), 300, 32)
    with pytest.raises(sae.SaeError, match="was trained on another model"):
        sae.load(tmp_path, other)
    assert sae.load(tmp_path).width == 12
