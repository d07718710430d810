"""mergekit's YAML files, in the shapes of its own examples."""

import json
import weakref

import networks
import pytest
import torch
from safetensors.torch import load_file, save_file

from unifeat import lm, merging
from unifeat.lm import tokenizers
from unifeat.merging import mergekit, streaming, zoo
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


MLP, HEAD = "model.layers.0.mlp.up_proj.weight", "lm_head.weight"
TIES = """
models: [{model: a}, {model: b, parameters: {weight: 0.5, density: [0.2, 0.6]}}, {model: c}]
merge_method: ties
base_model: a
parameters: {weight: [{filter: mlp, value: [1, 3]}, {value: 2}], density: 0.9, lambda: 0.7}
"""


def test_slerp_runs_from_the_base_model_to_the_other(read):
    assert read(SLICES) == Recipe("slerp", ("models/lua", "models/stories"), "", ({}, {}), ({}, dict(t=0.58)), 1)
    turned = SLICES.replace("base_model: models/lua", "base_model: models/stories")
    assert read(turned).models == ("models/stories", "models/lua")
    plain = read("models: [{model: a}, {model: b}]\nmerge_method: slerp\nbase_model: b\nparameters: {t: 1e-1}")
    assert plain.models == ("b", "a") and plain.value("t", HEAD, 0) == 0.1 and plain.layers is None


@pytest.mark.parametrize("value", ["[0.58]", "[{value: 0.58}]", "{value: 0.58}", "[{filter: '*', value: 0.58}]"])
def test_one_t_for_everything_may_be_written_in_four_ways(read, value):
    found = read(SLICES.replace("t: 0.58", f"t: {value}"))
    assert {found.value("t", name, place) for name in (MLP, HEAD) for place in (0, 0.3, 1)} == {0.58}


def test_a_slices_own_parameter_wins_over_the_files(read):
    own = SLICES.replace("merge_method", "    parameters: {t: 0.25}\nmerge_method")
    assert read(own).value("t", HEAD, 0) == 0.25


def test_a_list_runs_along_the_layers_and_the_first_filter_that_fits_counts(read):
    found = read(SLICES.replace("t: 0.58", "t: [{filter: mlp, value: [0, 0.5, 1]}, {filter: norm, value: 0.2}]"))
    assert [found.value("t", MLP, place) for place in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.25, 0.5, 0.75, 1]
    assert found.value("t", "model.norm.weight", 0) == 0.2
    with pytest.raises(ValueError, match="it sets no t for lm_head.weight"):
        found.value("t", HEAD, 0)


def test_each_model_has_its_own_parameters_before_the_common_ones(read):
    found = read(TIES)
    assert (found.models, found.base) == (("b", "c"), "a")
    assert [found.value("weight", MLP, 0.5, model) for model in (0, 1)] == [0.5, 2.0]
    assert [found.value("weight", HEAD, 0, model) for model in (0, 1)] == [0.5, 2.0]
    assert found.value("density", MLP, 1, 0) == 0.6 and found.value("density", MLP, 1, 1) == 0.9
    assert found.value("lambda", MLP, 0) == 0.7 and found.value("rescale", MLP, 0, default=True) is True


@pytest.mark.parametrize(("change", "words"), [
    (("merge_method: slerp", "merge_method: della"), "merge_method is della; it must be one of slerp, linear, task_ar"),
    (("  t: 0.58", "  t: []"), "its t is an empty list"),
    (("  t: 0.58", "  t: [0, [1]]"), r"its t is \[1\], which is no number"),
    (("  t: 0.58", "  t: [{filter: 3, value: 1}]"), "its t has a filter 3 without a value or a name"),
    (("  t: 0.58", "  t: [{filter: mlp, weight: 1}]"), "its t sets weight; only filter and value are known there"),
    (("  t: 0.58", "  t: [0, 1.2]"), "it sets t to 1.2; choose one from 0 to 1"),
    (("  t: 0.58", "  t: .nan"), "its t is nan, which is no number"),
    (("  t: 0.58", "  t: true"), "its t is True, which is no number"),
    (("  t: 0.58", "  t: half"), "its t is 'half', which is no number"),
    (("  t: 0.58", "  t: 1.2"), "it sets t to 1.2; choose one from 0 to 1"),
    (("  t: 0.58", "  v: 0.58"), "it sets v, and slerp reads t"),
    (("parameters:\n  t: 0.58", ""), "it sets no t"),
    (("base_model: models/lua", ""), "base_model, the model at t = 0, is None; make it one of models/lua and"),
    (("[0, 1]\n      - model: models/stories", "[0, 2]\n      - model: models/stories"), "its layer ranges are"),
    (("layer_range: [0, 1]", "layer_range: [1, 2]"), r"layer ranges are \[1, 2\] and \[1, 2\]; take all layers"),
    (("models/stories", "models/lua"), "its models are models/lua and models/lua; name different"),
    (("dtype", "tokenizer_source: union\ndtype"), "it sets tokenizer_source, and only base_model, dtype"),
    (("merge_method", "    residual_weight: 2\nmerge_method"), "its slice sets residual_weight"),
    (("merge_method", "models: [{model: a}]\nmerge_method"), "it must have either models or slices"),
    (("      - model: models/stories\n        layer_range: [0, 1]\n", ""), "slerp must name exactly two models"),
    ((SLICES, "- a list"), r"the file must be a mapping \(key: value\), not \['a list'\]"),
    ((SLICES, ""), "the file must be a mapping"),
])
def test_what_is_not_one_slerp_of_two_whole_models_is_refused_in_one_sentence(read, change, words):
    with pytest.raises(RecipeError, match=words) as caught:
        read(SLICES.replace(*change))
    assert "merge.yml is no merge that unifeat can do: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "words"), [
    (("linear", "ties"), "base_model, whose changes ties adds, is None; name a folder"),
    (("linear", "ties\nbase_model: models/lua\nparameters: {normalize: false}"), "false, and ties is a mean"),
    (("linear", "ties\nbase_model: models/lua\nparameters: {density: 1.5}"), "it sets density to 1.5; choose one from"),
    (("linear", "linear\nparameters: {normalize: 1}"), "its normalize is 1; write true or false"),
    (("    parameters: {weight: 3}\n", ""), "it sets no weight"),
    (("{weight: 3}", "3"), "parameters must be a mapping"),
])
def test_parameters_that_a_method_cannot_read_are_refused(read, change, words):
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
    streaming.apply(put(tmp_path, models), tmp_path / "new" / "merged")
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
        streaming.apply(put(tmp_path, models.replace(*edit) if edit[0] else models), to)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.partial"))


# Methods, dtypes and shards -------------------------------------------------------------------------------

def family(tmp_path, kind="llama", **save):
    """A base and two changed models of two layers as folders, and their state dicts."""
    out = {}
    for seed, name in enumerate(("base", "a", "b")):
        model = networks.network(networks.CONFIGS[kind], seed)
        model.to(save.get("dtype", torch.float32)).save_pretrained(tmp_path / name, **{"max_shard_size": save.get(
            "size", "1GB")})
        networks.tokenizer(kind).save_pretrained(tmp_path / name)
        out[name] = model.state_dict()
    return out


def applied(tmp_path, text):
    for name in ("base", "a", "b"):
        text = text.replace(f" {name},", f" {tmp_path}/{name},").replace(f" {name}}}", f" {tmp_path}/{name}}}")
    streaming.apply(put(tmp_path, text.replace("base_model: base", f"base_model: {tmp_path}/base")), tmp_path / "to")
    return lm.load(tmp_path / "to").state_dict()


MANY = "models: [{model: base}, {model: a, parameters: {weight: 0.5}}, {model: b, parameters: {weight: 1}}]\n"


@pytest.mark.parametrize(("text", "ours"), [
    ("models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]\nmerge_method: linear",
     lambda of: zoo.linear([of["a"], of["b"]], [1, 3])),
    (f"{MANY}merge_method: task_arithmetic\nbase_model: base\nparameters: {{lambda: 0.7}}",
     lambda of: zoo.task_arithmetic(of["base"], [of["a"], of["b"]], [0.5, 1], 0.7)),
    (f"{MANY}merge_method: task_arithmetic\nbase_model: base\nparameters: {{normalize: true}}",
     lambda of: zoo.task_arithmetic(of["base"], [of["a"], of["b"]], [0.5, 1], 1 / 1.5)),
    (f"{MANY}merge_method: ties\nbase_model: base\nparameters: {{density: 0.3, lambda: 0.7}}",
     lambda of: zoo.ties(of["base"], [of["a"], of["b"]], [0.5, 1], 0.3, 0.7)),
    (f"{MANY}merge_method: dare_linear\nbase_model: base", lambda of: zoo.task_arithmetic(
        of["base"], [of["a"], of["b"]], [0.5, 1])),
])
def test_every_method_is_the_zoos_tensor_by_tensor(tmp_path, text, ours):
    want = ours(family(tmp_path))
    for name, value in applied(tmp_path, text).items():
        torch.testing.assert_close(value, want[name], rtol=1e-6, atol=1e-7)


def test_a_gradient_of_weights_is_taken_at_each_layer(tmp_path):
    of = family(tmp_path)
    found = applied(tmp_path, "models: [{model: a, parameters: {weight: [1, 0]}}, {model: b, parameters: {weight: [0, "
                              "1]}}]\nmerge_method: linear")
    for name, value in found.items():
        assert torch.equal(value, of["b" if ".1." in name else "a"][name]), name  # the last layer is b's


def test_dare_keeps_a_share_of_each_change_scaled_up_and_draws_the_same_again(tmp_path):
    of = family(tmp_path)
    text = ("models: [{model: a, parameters: {weight: 1, density: 0.25}}]\nmerge_method: dare_linear\nbase_model: base")
    found, name = applied(tmp_path, text), "model.layers.1.mlp.down_proj.weight"
    change, whole = found[name] - of["base"][name], of["a"][name] - of["base"][name]
    kept = change.abs() > 1e-7
    assert 0.15 < kept.float().mean() < 0.35
    torch.testing.assert_close(change[kept], 4 * whole[kept], rtol=1e-4, atol=1e-6)
    (tmp_path / "to").rename(tmp_path / "once")
    again = applied(tmp_path, text)
    assert all(torch.equal(value, again[name]) for name, value in found.items())


def test_shards_and_dtype_stay_and_files_are_what_the_library_would_write(tmp_path):
    of = family(tmp_path, dtype=torch.bfloat16, size="8KB")
    text = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\nmerge_method: linear"
    applied(tmp_path, text)
    shards = sorted(path.name for path in (tmp_path / "to").glob("*.safetensors"))
    assert len(shards) > 2 and shards == sorted(path.name for path in (tmp_path / "a").glob("*.safetensors"))
    tensors = {name: value for shard in shards for name, value in load_file(tmp_path / "to" / shard).items()}
    want = zoo.linear([of["a"], of["b"]])
    assert all(value.dtype == torch.bfloat16 and torch.equal(value, want[name]) for name, value in tensors.items())
    index = json.loads((tmp_path / "to" / "model.safetensors.index.json").read_text())["weight_map"]
    assert index == json.loads((tmp_path / "a" / "model.safetensors.index.json").read_text())["weight_map"]


def test_no_more_than_one_tensor_of_each_parent_is_held(tmp_path, monkeypatch):
    family(tmp_path, size="8KB")
    alive, most, read = weakref.WeakSet(), [], streaming.Weights.__getitem__

    def watched(self, name):
        made = read(self, name)
        alive.add(made)
        most.append(len(alive))
        return made

    monkeypatch.setattr(streaming.Weights, "__getitem__", watched)
    applied(tmp_path, f"{MANY}merge_method: ties\nbase_model: base\nparameters: {{density: 0.3}}")
    assert len(most) > 30 and max(most) <= 6  # three of a tensor, and three of the one before until they are collected


def test_models_that_store_a_tied_embedding_once_and_twice_are_merged(tmp_path):
    of = family(tmp_path, "gpt2")
    twice = load_file(tmp_path / "b" / "model.safetensors")
    twice["lm_head.weight"] = twice["transformer.wte.weight"].clone()
    save_file(twice, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    found = applied(tmp_path, "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n"
                              "merge_method: linear")
    assert torch.equal(found["lm_head.weight"], zoo.linear([of["a"], of["b"]])["lm_head.weight"])
