"""mergekit's YAML files, in the shapes of its own examples."""

import json

import networks
import pytest
import torch
from safetensors.torch import load_file, save_file

from unifeat import lm, merging
from unifeat.lm import tokenizers
from unifeat.merging import mergekit
from unifeat.merging.mergekit import Recipe, RecipeError

SLICES = """
slices:
  - sources:
      - model: models/lua
        layer_range: [0, 1]
      - model: models/stories
        layer_range: [0, 1]
merge_method: slerp
base_model: models/lua
parameters:
  t: 0.58
dtype: bfloat16
"""
MODELS = """
models:
  - model: models/lua
    parameters: {weight: 1.0}
  - model: models/stories
    parameters: {weight: 3}
merge_method: linear
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "merge.yml").write_text(text, encoding="utf-8")
        return mergekit.read(tmp_path / "merge.yml")

    return read


def test_slerp_runs_from_the_base_model_to_the_other(read):
    assert read(SLICES) == Recipe("slerp", 0.58, ("models/lua", "models/stories"), 1)
    turned = SLICES.replace("base_model: models/lua", "base_model: models/stories")
    assert read(turned) == Recipe("slerp", 0.58, ("models/stories", "models/lua"), 1)
    plain = "models: [{model: a}, {model: b}]\nmerge_method: slerp\nbase_model: b\nparameters: {t: 1e-1}"
    assert read(plain) == Recipe("slerp", 0.1, ("b", "a"))


@pytest.mark.parametrize("value", ["[0.58]", "[{value: 0.58}]", "{value: 0.58}", "[{filter: '*', value: 0.58}]"])
def test_one_t_for_everything_may_be_written_in_four_ways(read, value):
    assert read(SLICES.replace("t: 0.58", f"t: {value}")).t == 0.58


def test_a_slices_own_parameter_wins_over_the_files(read):
    own = SLICES.replace("merge_method", "    parameters: {t: 0.25}\nmerge_method")
    assert read(own).t == 0.25


def test_linear_weights_are_relative_unless_they_are_not_to_be_normalised(read):
    assert read(MODELS) == Recipe("lerp", 0.75, ("models/lua", "models/stories"))
    common = MODELS.replace("    parameters: {weight: 3}\n", "") + "parameters: {weight: 1}\n"
    assert read(common).t == 0.5
    exact = MODELS.replace("1.0", "0.75").replace("3", "0.25") + "parameters: {normalize: false}\n"
    assert read(exact).t == 0.25


@pytest.mark.parametrize(("change", "words"), [
    (("merge_method: slerp", "merge_method: ties"), "merge_method is ties; it must be slerp or linear"),
    (("  t: 0.58", "  t: [0, 0.5, 1]"), "its t differs between layers or tensors; give one number"),
    (("  t: 0.58", "  t: [{filter: mlp, value: 0.3}, {value: 0.5}]"), "its t differs between layers"),
    (("  t: 0.58", "  t: [{filter: mlp, value: 0.3}]"), "its t differs between layers"),
    (("  t: 0.58", "  t: .nan"), "its t is nan, which is no number"),
    (("  t: 0.58", "  t: true"), "its t is True, which is no number"),
    (("  t: 0.58", "  t: half"), "its t is 'half', which is no number"),
    (("  t: 0.58", "  t: 1.2"), r"t = 1.2; choose parameters that put it inside \[0, 1\]"),
    (("  t: 0.58", "  v: 0.58"), "it sets no t"),
    (("base_model: models/lua", ""), "base_model, the model at t = 0, is None; make it one of models/lua and"),
    (("[0, 1]\n      - model: models/stories", "[0, 2]\n      - model: models/stories"), "its layer ranges are"),
    (("layer_range: [0, 1]", "layer_range: [1, 2]"), r"layer ranges are \[1, 2\] and \[1, 2\]; take all layers"),
    (("models/stories", "models/lua"), "its models are models/lua and models/lua; name two different"),
    (("dtype", "tokenizer_source: union\ndtype"), "it sets tokenizer_source, and only base_model, dtype"),
    (("merge_method", "    residual_weight: 2\nmerge_method"), "its slice sets residual_weight"),
    (("merge_method", "models: [{model: a}]\nmerge_method"), "it must have either models or slices"),
    (("      - model: models/stories\n        layer_range: [0, 1]\n", ""), "it must name exactly two models"),
    ((SLICES, "- a list"), r"the file must be a mapping \(key: value\), not \['a list'\]"),
    ((SLICES, ""), "the file must be a mapping"),
])
def test_what_is_not_one_slerp_of_two_whole_models_is_refused_in_one_sentence(read, change, words):
    with pytest.raises(RecipeError, match=words) as caught:
        read(SLICES.replace(*change))
    assert "merge.yml is no merge that unifeat can do: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "words"), [
    (("weight: 3", "weight: -1"), "its weights add up to 0; make that 1"),
    (("merge_method", "parameters: {normalize: false}\nmerge_method"), "its weights add up to 4; make that 1"),
    (("weight: 3", "weight: -0.5"), r"it puts the merge at t = -1; choose"),
    (("    parameters: {weight: 3}\n", ""), "it sets no weight"),
    (("{weight: 3}", "3"), "parameters must be a mapping"),
])
def test_weights_that_are_no_interpolation_are_refused(read, change, words):
    with pytest.raises(RecipeError, match=words):
        read(MODELS.replace(*change))


@pytest.mark.parametrize("text", ["models: [", "!!python/object/apply:os.getcwd []", "\t- x"])
def test_what_is_no_plain_yaml_is_refused_and_never_run(read, text):
    with pytest.raises(RecipeError, match="merge.yml cannot be read .*; give a YAML file as mergekit reads it.$"):
        read(text)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(RecipeError, match="none.yml cannot be read .*No such file"):
        mergekit.read(tmp_path / "none.yml")


# Applied to models ----------------------------------------------------------------------------------------

@pytest.fixture
def models(tmp_path):
    """Two Llamas of two layers with one tokenizer and a chat template, and a recipe's text for them."""
    for seed, name in enumerate(("a", "b")):
        model = networks.network(networks.CONFIGS["llama"], seed)
        model.lm_head.weight.data[:5] = 0  # rows that nobody trained
        model.model.norm.weight.data[:] = 0
        networks.put(tmp_path / name, model, networks.tokenizer("llama"))
    (tmp_path / "a" / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "a" / "generation_config.json").write_text(json.dumps(dict(temperature=0.3)))
    return (f"slices: [{{sources: [{{model: {tmp_path}/a, layer_range: [0, 2]}}, {{model: {tmp_path}/b, "
            f"layer_range: [0, 2]}}]}}]\nmerge_method: slerp\nbase_model: {tmp_path}/a\nparameters: {{t: 0.25}}")


def put(tmp_path, text):
    (tmp_path / "merge.yml").write_text(text)
    return tmp_path / "merge.yml"


def test_tensors_that_are_zero_in_both_stay_zero_and_the_chat_template_comes_along(models, tmp_path):
    mergekit.apply(put(tmp_path, models), tmp_path / "new" / "merged")
    merged, a, b = (lm.load(tmp_path / name).state_dict() for name in ("new/merged", "a", "b"))
    assert not merged["model.norm.weight"].any() and not merged["lm_head.weight"][:5].any()
    name = "model.layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(merged[name], merging.slerp(a[name], b[name], 0.25))
    assert (tmp_path / "new" / "merged" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert tokenizers.alike(tmp_path / "new" / "merged", tmp_path / "a")


def spoil(change, tmp_path):
    """Where the merge is to be written after `change`."""
    if change == "tokenizer":
        state = json.loads((tmp_path / "b" / "tokenizer.json").read_text())
        vocab = state["model"]["vocab"]
        one, two = sorted(vocab, key=vocab.get)[-2:]
        vocab[one], vocab[two] = vocab[two], vocab[one]
        (tmp_path / "b" / "tokenizer.json").write_text(json.dumps(state))
    if change == "tensor":
        weights = load_file(tmp_path / "b" / "model.safetensors")
        weights["model.layers.0.mlp.down_proj.weight"][:] = 0
        save_file(weights, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "file").write_text("x")
    return {"below a file": tmp_path / "file" / "x", "a file": tmp_path / "file",
            "too long": tmp_path / ("x" * 300)}.get(change, tmp_path / "to")


@pytest.mark.parametrize(("change", "edit", "words"), [
    ("range", ("[0, 2]", "[0, 1]"), r"takes 1 of 2 layers, and unifeat merges whole models; write layer_range: \[0, 2"),
    ("range", ("[0, 2]", "[0, two]"), "its layer ranges end at 'two'"),
    ("range", ("[0, 2]", "[0]"), "its layer ranges are"), ("tokenizer", ("", ""), "have different tokenizers"),
    ("tensor", ("", ""), "is zero everywhere and has no direction"),
    ("below a file", ("", ""), "file/x cannot be made .Not a directory.; name another folder"),
    ("a file", ("", ""), "is not empty; name a new folder"), ("too long", ("", ""), "cannot be made .File name too")])
def test_what_cannot_be_merged_or_written_is_one_sentence(models, tmp_path, change, edit, words):
    to = spoil(change, tmp_path)
    with pytest.raises(RecipeError, match=words) as caught:
        mergekit.apply(put(tmp_path, models.replace(*edit) if edit[0] else models), to)
    assert "\n" not in str(caught.value)
