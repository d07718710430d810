"""Other people's model folders: nothing in them is run, what is missing or packed is said before anything else."""

import ast
import builtins
import json
import shutil
from pathlib import Path

import networks
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import unifeat
from unifeat import lm
from unifeat.lineage import given, given_tokenizers
from unifeat.lineage.run import open_run
from unifeat.lm import folders, tokenizers
from unifeat.support.errors import UnifeatError

TRAP = """
import pathlib
pathlib.Path({mark!r}).write_text("ran")
class Own: pass
"""


@pytest.fixture
def mine(tmp_path):
    """A small Llama with its tokenizer."""
    return networks.put(tmp_path / "mine", networks.network(networks.CONFIGS["llama"]), networks.tokenizer("llama"))


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def said(call, *args):
    with pytest.raises(UnifeatError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Nothing is run -----------------------------------------------------------------------------------

@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json", "custom_generate"])
@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_folder_is_never_run_and_nobody_is_asked(mine, tmp_path, monkeypatch, where, known):
    """Whether transformers has code of its own for the kind or not; reading it may fail, in one sentence."""
    mark = tmp_path / "ran"
    (mine / "own.py").write_text(TRAP.format(mark=str(mark)))
    (mine / "custom_generate").mkdir()
    (mine / "custom_generate" / "generate.py").write_text(TRAP.format(mark=str(mark)))
    auto = {f"Auto{kind}": "own.Own" for kind in ("Config", "Model", "ModelForCausalLM")}
    if where == "config.json":
        edit(mine / where, auto_map=auto, **({} if known else dict(model_type="poem")))
    elif where == "tokenizer_config.json":
        edit(mine / where, auto_map=dict(AutoTokenizer=["own.Own", "own.Own"]),
             **({} if known else dict(tokenizer_class="Own")))
        (mine / "tokenizer.json").rename(mine / "vocab.json")  # else no code is needed
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked"))
    for call in (lm.load, given.skeleton, given_tokenizers.facts, lambda folder: given.untrained(folder, 0)):
        try:
            call(mine)
        except UnifeatError as error:
            assert "\n" not in str(error)
    assert not mark.exists()


def test_a_kernel_that_a_config_names_is_not_fetched(mine):
    edit(mine / "config.json", attn_implementation="someone/kernel", _attn_implementation="someone/kernel")
    assert lm.load(mine).config._attn_implementation == lm.kernel()
    assert given.skeleton(mine).config._attn_implementation == "eager"


def test_others_folders_have_one_door():
    """No module but `support.pretrained` calls a loader that could run what it loads."""
    doors = ("from_pretrained", "from_config", "boot_transformers", "load_dataset")
    own = {"lm/hooks.py": ["boot_transformers"], "text/sources.py": ["load_dataset"]}  # ours; runs none
    for path in sorted(Path(unifeat.__file__).parent.rglob("*.py")):
        name = path.relative_to(Path(unifeat.__file__).parent).as_posix()
        calls = [node.func.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in doors]
        assert name == "support/pretrained.py" or calls == own.get(name, []), name


# What is in a folder ------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


def packed(folder, **changes):
    weights = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        weights["model.layers.0.mlp.down_proj." + name] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


CASES = {
    "a pointer": (lambda f: (f / "model.safetensors").write_bytes(POINTER), "run `git lfs pull` in"),
    "a pointer to the tokenizer": (lambda f: (f / "tokenizer.json").write_bytes(POINTER), "run `git lfs pull` in"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "merge_and_unload"),
    "an adapter alone": (lambda f: [(f / "adapter_model.safetensors").write_bytes(b""),
                                    (f / "model.safetensors").unlink()], "merge_and_unload"),
    "gptq": (lambda f: edit(f / "config.json", quantization_config=dict(quant_method="gptq", bits=4)),
             "are quantised (gptq); load it with transformers, call model.dequantize()"),
    "bitsandbytes": (lambda f: edit(f / "config.json", quantization_config=dict(load_in_4bit=True)), "are quantised;"),
    "fp8 that the config hides": (lambda f: packed(f, weight=torch.zeros(16, 24).to(torch.float8_e4m3fn)),
                                  "(model.layers.0.mlp.down_proj.weight is F8_E4M3)"),
    "int8": (lambda f: packed(f, weight=torch.zeros(16, 24, dtype=torch.int8)), "down_proj.weight is I8"),
    "packed": (lambda f: packed(f, qweight=torch.zeros(2, 24, dtype=torch.int32)), "down_proj.qweight is I32"),
    "cut off": (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
                "is damaged or cut off"),
    "a pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "there is weights as a pickle"),
    "GGUF": (lambda f: (f / "model.safetensors").rename(f / "model-q8.gguf"), "there is a GGUF file; give that file"),
    "an index to more": (lambda f: (f / folders.INDEX).write_text(json.dumps(dict(weight_map={
        "model.norm.weight": "model.safetensors", "model.none": "model.safetensors"}))), "lacks the tensor model.none"),
    "a shard less": (lambda f: (f / folders.INDEX).write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
                     "lacks model-2.safetensors"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_whole_plain_model_is_one_sentence_with_the_remedy(mine, case):
    change, words = CASES[case]
    change(mine)
    assert words in said(lm.load, mine) and words in said(folders.check, mine, "the model a")


def test_sampling_settings_do_not_keep_a_model_from_being_taken(mine, tmp_path):
    """As Llama-2-chat's: transformers refuses to save a temperature without do_sample."""
    (mine / "generation_config.json").write_text(json.dumps(dict(temperature=0.9, top_p=0.6, eos_token_id=2)))
    given.take(mine, given_tokenizers.tokenizer(mine, 24), tmp_path / "taken")
    assert "temperature" not in json.loads((tmp_path / "taken" / "generation_config.json").read_text())


# Tokenizers ---------------------------------------------------------------------------------------

def saved_again(source, folder, change):
    """A copy of `source` whose tokenizer.json is changed by `change(state)`."""
    shutil.copytree(source, folder)
    state = json.loads((folder / "tokenizer.json").read_text())
    change(state)
    (folder / "tokenizer.json").write_text(json.dumps(state))
    return folder


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_tokenizer_saved_by_another_version_is_the_same(kind, tmp_path):
    one = networks.put(tmp_path / "one", networks.network(networks.CONFIGS[kind]), networks.tokenizer(kind))

    def other(state):
        state["model"] |= dict(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=True)
        state["model"]["merges"] = [" ".join(pair) for pair in state["model"]["merges"]]
        if kind == "gpt2":
            state["post_processor"] = dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False, use_regex=True)

    two = saved_again(one, tmp_path / "two", other)
    assert tokenizers.read(one).backend_tokenizer.to_str() != tokenizers.read(two).backend_tokenizer.to_str()
    assert tokenizers.alike(one, two) and tokenizers.alike(two, one)


@pytest.mark.parametrize("change", [
    lambda state: state["model"]["merges"].reverse(), lambda state: state["model"]["merges"].pop(3),
    lambda state: state.update(normalizer=dict(type="Lowercase")), lambda state: state.update(pre_tokenizer=None),
    lambda state: state["added_tokens"].append(state["added_tokens"][0] | dict(id=280, content="the", special=False))])
def test_a_tokenizer_that_does_something_else_is_another(change, tmp_path):
    one = networks.put(tmp_path / "one", networks.network(networks.CONFIGS["gpt2"]), networks.tokenizer("gpt2"))
    assert not tokenizers.alike(one, saved_again(one, tmp_path / "two", change))


def test_models_that_open_documents_with_other_tokens_are_read_on_the_bases(tmp_path, small):
    """An instruct model's end of text is <|im_end|> where its base's is <|endoftext|>: the text is one all the same."""
    base = networks.put(tmp_path / "base", networks.network(networks.CONFIGS["llama"]), networks.tokenizer("llama"))
    child = networks.put(tmp_path / "child", networks.network(networks.CONFIGS["llama"], seed=1),
                         networks.tokenizer("llama"))
    edit(child / "tokenizer_config.json", bos_token=None, eos_token="</s>")
    edit(child / "config.json", bos_token_id=None)
    assert given_tokenizers.facts(base)["opening"] == 1 and given_tokenizers.facts(child)["opening"] == 2
    run = open_run(small('[models.base]\ngiven = "base"\ntext = ["english"]\n[models.child]\nparent = "base"\n'
                         'given = "child"\ntext = ["lua"]\n'))
    ids = np.random.default_rng(0).integers(3, 280, (2, 20))
    ids[:, 0] = 1
    renumbered = np.where(ids == 1, 0, ids)
    with torch.inference_mode():
        for name, source in (("base", base), ("child", child)):
            want = lm.load(source)(input_ids=torch.from_numpy(ids)).logits
            have = run.model(name)(input_ids=torch.from_numpy(renumbered)).logits
            torch.testing.assert_close(have[..., 3:], want[..., 3:], atol=1e-5, rtol=0)


def test_tied_embeddings_in_shards_are_taken_trained_and_merged(tmp_path, small):
    """One tensor under two names: read from shards, trained, saved, merged and read again."""
    from unifeat.merging import streaming

    model = networks.network(networks.CONFIGS["gpt2"])
    model.save_pretrained(tmp_path / "mine", max_shard_size="8KB")
    networks.tokenizer("gpt2").save_pretrained(tmp_path / "mine")
    assert len(folders.weights(tmp_path / "mine")) > 1
    run = open_run(small('[models.base]\ngiven = "mine"\ntext = ["english"]\n[models.lua]\nparent = "base"\n'
                         'finetune = { text = ["lua"] }\n'))
    for name in ("base", "lua"):
        ours = run.model(name)
        assert ours.get_output_embeddings().weight is ours.get_input_embeddings().weight
        assert "lm_head.weight" not in load_file(run.model_folder(name) / "model.safetensors")
    recipe = tmp_path / "merge.yml"
    recipe.write_text(f"models: [{{model: {run.model_folder('base')}}}, {{model: {run.model_folder('lua')}}}]\n"
                      f"merge_method: slerp\nbase_model: {run.model_folder('base')}\nparameters: {{t: 0.5}}")
    streaming.apply(recipe, tmp_path / "merged")
    merged = lm.load(tmp_path / "merged")
    assert merged.get_output_embeddings().weight is merged.get_input_embeddings().weight
    assert not torch.equal(merged.state_dict()["lm_head.weight"], run.model("base").state_dict()["lm_head.weight"])
