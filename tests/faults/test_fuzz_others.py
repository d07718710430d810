"""Random changes of what other programs write: recipes, SAE folders, model folders, text, endpoints' replies."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from fuzzing import attempt, fuzz
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unifeat import lm
from unifeat.autointerp import refusals
from unifeat.lm import folders as model_folders
from unifeat.merging import mergekit
from unifeat.sae import folders as sae_folders
from unifeat.text import files

OTHERS = sorted((Path(__file__).parents[1] / "sae" / "others").iterdir())
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-3, 20), st.floats(), st.text(max_size=4),
                   st.lists(st.integers(0, 3), max_size=3), st.dictionaries(st.sampled_from(["value", "filter", "x"]),
                                                                            st.integers(0, 2), max_size=2))


# mergekit's recipes -----------------------------------------------------------------------------------------------

KEYS = ["merge_method", "base_model", "models", "slices", "parameters", "dtype", "tokenizer_source", "x"]
PARTS = ["model", "layer_range", "parameters", "weight"]
RECIPES = (dict(models=[dict(model="a", parameters=dict(weight=1)), dict(model="b", parameters=dict(weight=2))],
                merge_method="linear"),
           dict(slices=[dict(sources=[dict(model="a", layer_range=[0, 2]), dict(model="b", layer_range=[0, 2])])],
                merge_method="slerp", base_model="a", parameters=dict(t=0.5)))


@fuzz(2200)
@given(st.sampled_from(RECIPES), st.sampled_from(KEYS), VALUES, st.sampled_from(PARTS), VALUES, st.integers(0, 3))
def test_recipes(tmp_path, recipe, key, value, part, other, which):
    recipe = json.loads(json.dumps(recipe))
    if which < 2:
        recipe[key] = value
    sources = recipe.get("models") if which else (recipe.get("slices") or [{}])
    for _ in range(2):
        first = sources[0] if isinstance(sources, list) and sources else None
        sources = first["sources"] if isinstance(first, dict) and "sources" in first else sources
    if which > 0 and isinstance(first, dict):
        first[part] = other
    (tmp_path / "m.yml").write_text(json.dumps(recipe))  # which is YAML
    found = attempt("recipes", lambda: mergekit.read(tmp_path / "m.yml"), line=True)
    assert found is None or len(found.models) >= 2 and len(found.models) == len(found.own)


@fuzz(600)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_recipes_of_random_bytes(tmp_path, data):
    (tmp_path / "m.yml").write_bytes(data)
    attempt("recipes of bytes", lambda: mergekit.read(tmp_path / "m.yml"), line=True)


# SAEs of SAELens and dictionary_learning --------------------------------------------------------------------------

CHANGES = st.sampled_from(["setting", "no setting", "no tensor", "extra", "shape", "nan", "type", "bytes", "missing"])
SETTINGS = ["architecture", "d_in", "d_sae", "k", "normalize_activations", "apply_b_dec_to_input", "metadata",
            "dict_class", "dict_size", "activation_dim", "trainer", "submodule_name"]


def changed(state: dict, change: str, number: int, shape: list) -> None:
    """A state dict with one tensor changed."""
    name = sorted(state)[number % len(state)]
    if change == "no tensor":
        del state[name]
    elif change == "extra":
        state[("threshold", "W_skip", "scaling_factor", "bias")[number % 4]] = torch.ones(14)
    elif change == "shape":
        state[name] = torch.zeros(shape)
    elif change == "nan" and state[name].is_floating_point() and state[name].numel():
        state[name] = state[name].clone(memory_format=torch.contiguous_format)
        state[name].view(-1)[0] = math.nan
    elif change == "type":
        state[name] = state[name].to([torch.int8, torch.float16, torch.float64, torch.bool][number % 4])


@fuzz(1600)
@given(st.sampled_from(OTHERS), CHANGES, st.sampled_from(SETTINGS), VALUES, st.integers(0, 60),
       st.lists(st.integers(0, 15), max_size=3))
def test_saes_of_other_packages(tmp_path, source, change, key, value, number, shape):
    folder = tmp_path / "sae"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    config, weights = (folder / name for name in sae_folders.FILES[sae_folders.layout(folder)])
    stated = json.loads(config.read_text())
    inner = stated.get("trainer", stated) if number % 2 else stated
    if change == "setting":
        inner[key] = value
    if change == "no setting":
        inner.pop(key, None)
    config.write_text(json.dumps(stated))
    pickled = weights.suffix == ".pt"
    state = torch.load(weights, weights_only=True) if pickled else load_file(weights)
    changed(state, change, number, shape)
    (torch.save if pickled else save_file)(dict(state), weights)
    if change == "bytes":
        data = bytearray(weights.read_bytes())
        data[number * 7919 % min(len(data), 400)] ^= 1 << number % 8
        weights.write_bytes(data)
    if change == "missing":
        (config, weights)[number % 2].unlink()
    one = attempt("SAEs of others", lambda: sae_folders.read(folder), line=True)
    if one is not None:
        latents = one.encode(torch.ones(2, one.w_enc.shape[1]))
        assert latents.isfinite().all() and latents.shape == (2, one.width)


# Model folders, looked at before they are loaded ------------------------------------------------------------------

NAMES = ["config.json", "model.safetensors", "model.safetensors.index.json", "adapter_config.json", "tokenizer.json",
         "pytorch_model.bin", "model.gguf", "generation_config.json"]
HEADERS = st.sampled_from([b"", b"{", b"[]", b"null", b"version https://git-lfs", b'{"weight_map": {"a": "b"}}',
                           b'{"weight_map": 3}', b'{"quantization_config": {"quant_method": "awq"}}',
                           b'{"quantization_config": 7}', b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ",
                           b'{"weight_map": {"a": "model.safetensors"}}', b'{"model_type": "llama"}'])


@fuzz(1800)
@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(HEADERS, st.binary(max_size=40)), max_size=6))
def test_what_lies_in_a_model_folder(tmp_path, held):
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in held.items():
        (folder / name).write_bytes(data)
    attempt("contents of model folders", lambda: model_folders.check(folder, "the model x"), line=True)
    if len(held) < 3:
        with pytest.raises(lm.ModelError):
            lm.load(folder)


# Text and endpoints -----------------------------------------------------------------------------------------------

SUFFIXES = st.sampled_from([kind.upper() if at % 3 == 0 else kind for at, kind in enumerate(files.FORMATS)])


@fuzz(1500)
@given(SUFFIXES, st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode),
                           st.lists(st.dictionaries(st.sampled_from(["text", "content", "x"]), VALUES, max_size=2),
                                    max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())))
def test_text_files(tmp_path, suffix, data):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    found = attempt("text files", lambda: files.read(path))
    assert found is None or all(isinstance(text, str) for text in found)


BODIES = st.recursive(VALUES, lambda inner: st.dictionaries(
    st.sampled_from(["message", "error", "code", "param", "type", "detail"]), inner, max_size=3), max_leaves=4)


@fuzz(1200)
@given(BODIES, st.text(max_size=60), st.sampled_from(["", "<think>", "</think>", "<think>a</think>"]))
def test_replies_of_endpoints(body, text, thought):
    """Whatever an endpoint says is one printable line, and thoughts are no answer."""
    error = refusals.ErrorBody(body)
    attempt("replies", lambda: refusals.said(error))
    said = refusals.said(error)
    assert said.isprintable() and len(said) <= 200
    assert isinstance(refusals.filtered(error), bool) and isinstance(refusals.unpaid(error), bool)
    less = refusals.without(error, dict(max_tokens=5, temperature=0.0))
    assert less is None or len(less) < 3
    assert "think>" not in refusals.answer(f"{thought}{text.replace('<', '')}") or not thought
