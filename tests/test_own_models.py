"""Given models: the whole pipeline on them, released checkpoints, four architectures, and what is refused."""

import json
import re
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import (
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
)

from unifeat import __main__ as cli
from unifeat import lm, merging
from unifeat.lineage import given, given_tokenizers, settings
from unifeat.lineage.run import Run, open_run
from unifeat.lm import logit_lens
from unifeat.merging import mergekit
from unifeat.pipeline import provenance
from unifeat.sae import features
from unifeat.studies import baselines, feature_flow, ladder, persistence, sae_transfer, weight_matching
from unifeat.support import paths, store
from unifeat.text import bpe, hub, sources

HIDDEN = dict(vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24)
GATED = dict(**HIDDEN, intermediate_size=24, num_key_value_heads=1)
CONFIGS = {"mistral": MistralConfig(**GATED, bos_token_id=1, eos_token_id=2), "llama": LlamaConfig(**GATED),
           "gpt2": GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=24, bos_token_id=289,
                              eos_token_id=289),
           "gpt_neox": GPTNeoXConfig(**HIDDEN, intermediate_size=24)}
# The authors' config.json and tokenizer_config.json, key by key, at tiny widths (see RELEASED); the merge was saved in
# float16. Their tokenizers declare no bos or eos, and special_tokens_map.json is {}.
AUTHORS = dict(
    architectures=["MistralForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
    hidden_size=32, initializer_range=0.02, intermediate_size=64, max_position_embeddings=2048, model_type="mistral",
    num_attention_heads=4, num_hidden_layers=1, num_key_value_heads=2, rms_norm_eps=1e-06, rope_theta=10000.0,
    sliding_window=4096, tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.38.1",
    use_cache=True, vocab_size=300)
AUTHORS_TOKENIZER = dict(
    added_tokens_decoder={str(i): dict(content=token, lstrip=False, normalized=False, rstrip=False, single_word=False,
                                       special=True) for i, token in enumerate(("<unk>", "<s>", "</s>"))},
    clean_up_tokenization_spaces=True, model_max_length=1000000000000000019884624838656,
    tokenizer_class="PreTrainedTokenizerFast")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return tiny.text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def pieces():
    """A tokenizer like Mistral's: <unk> <s> </s>, bytes as <0xNN>, spaces as ▁, the first one put before the text."""
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    documents = [text.replace("é", "") for many in tiny.texts().values() for text in many]
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=300, special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False))
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]  # the bytes are none
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>",
                                   eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def byte_level():
    """A tokenizer like GPT-2's: bytes, the special token last."""
    trained = bpe.train([t for many in tiny.texts().values() for t in many], 290)
    state = json.loads(trained.to_str())
    names = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    state["model"]["vocab"] = {name: i for i, name in enumerate([*names[1:], names[0]])}
    state["added_tokens"][0]["id"] = len(names) - 1
    return bpe.wrap(Tokenizer.from_str(json.dumps(state)), 24)


def network(config, seed=0, dtype=torch.float32):
    """Random weights; biases, which begin at zero, too."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    return model.to(dtype)


def put(folder: Path, model, tokenizer) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory, pieces):
    """The authors' four checkpoints as they lie on the hub, of tiny width; the merge is SLERP at 0.58, in float16."""
    root = tmp_path_factory.mktemp("hub")
    states = {}
    for seed, role in enumerate(("base", "lua", "stories", "merged")):
        folder, model = root / given.RELEASED[role][0], network(MistralConfig(**AUTHORS), seed)
        states[role] = model.state_dict()
        if role == "merged":
            model.load_state_dict(merging.slerp(states["lua"], states["stories"], 0.58))
            model = model.half()
        put(folder, model, pieces)
        (folder / "config.json").write_text(json.dumps(AUTHORS | dict(
            torch_dtype="float16" if role == "merged" else "float32")))
        (folder / "tokenizer_config.json").write_text(json.dumps(AUTHORS_TOKENIZER))
        (folder / "special_tokens_map.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / (shard := "model-00001-of-00001.safetensors"))
    (folder / "model.safetensors.index.json").write_text(json.dumps(dict(
        metadata={}, weight_map=dict.fromkeys(states["merged"], shard))))
    return root


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A profile file whose whole pipeline takes seconds, a store, and a folder for figures."""
    monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / "store"))
    return str(tiny.profile(tmp_path / "small.toml"))


def test_released_checkpoints_run_from_a_local_copy_in_the_hubs_layout(released, text, small):
    run = open_run(small, str(text), f"released={released}")
    assert run.figures == paths.ROOT / "figures" / f"small-{text.name}-released" and not run.claims
    assert run.lineage.model.d_mlp == 64 and run.corpus.context == 32 and len(run.corpus.tokenizer) == 300
    assert run.picked() == pytest.approx(0.58, abs=0.002)
    assert run.model("merged").dtype == torch.float32
    run.train_children()  # there is nothing to train
    persistence.prepare(run)
    weight_matching.prepare(run)
    made = sorted(run.root.iterdir())
    shares = persistence.persistence(run)
    assert not ladder.ladder_table(run).empty and not sae_transfer.swap(run).empty and not weight_matching.shares(run).empty
    assert sorted(run.root.iterdir()) == made  # all was ready
    assert shares[["observed", "ceiling", "null"]].apply(lambda x: x.between(0, 1)).all(axis=None)
    assert set(run.logs("base", "lua")["step"]) == {0}
    facts = provenance.provenance(run)["models"]["merged"]
    assert facts["folder"] == "baby-python-1L-mistral-lua-stories-slerp"
    assert "model-00001-of-00001.safetensors" in facts["sha256"]
    assert "Models given: base = baby-python-mistral-1L-tiny-base;" in provenance.note(run)


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_not_given_is_made_from_what_is(kind, pieces, byte_level, text, small, tmp_path):
    base = put(tmp_path / "mine", network(CONFIGS[kind]), byte_level if kind.startswith("gpt") else pieces)
    run = open_run(small, str(text), str(base), "blocks.1.hook_mlp_out")
    assert run.corpus.context == 24 and run.saes("lua")[0].hook == "blocks.1.hook_mlp_out"
    assert run.saes("base")[0].w_enc.shape == (48, 16)
    assert len(run.losses("base", "lua", "stories", "merged", "ngram")) == 4 * 8 + 4
    changed = merging.differing(run.model("base").state_dict(), run.model("lua").state_dict())
    assert any("mlp" in name for name in changed)
    assert not feature_flow.flow(run).empty and len(baselines.random(run, ("lua", 1))["r_of_b"]) > 0
    assert len(run.angles()) == len(changed)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_taken_model_is_the_same_model_renumbered(kind, pieces, byte_level, tmp_path):
    tokenizer = byte_level if kind in ("gpt2", "gpt_neox") else pieces
    source = put(tmp_path / kind, network(CONFIGS[kind]), tokenizer)
    opening = 289 if tokenizer is byte_level else 1
    tokens = given_tokenizers.tokenizer(source, 24)
    given.take(source, tokens, tmp_path / "taken")
    ids = np.random.default_rng(0).integers(2, 280, (2, 20))
    ids[0, 0], ids[1, 5] = opening, 0
    swap = np.arange(300)
    swap[[0, opening]] = opening, 0
    with torch.inference_mode():
        before = lm.load(source)(input_ids=torch.from_numpy(ids)).logits.numpy()
        after = lm.load(tmp_path / "taken")(input_ids=torch.from_numpy(swap[ids])).logits.numpy()
    np.testing.assert_allclose(after[..., swap], before, atol=1e-5)
    text = "once upon a river é\n  def x(y): 1234"
    numbers = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokens(text, add_special_tokens=False)["input_ids"] == swap[numbers].tolist()
    assert tokens.decode(swap[numbers]) == tokenizer.decode(numbers)
    assert tokens.convert_tokens_to_ids(tokens.bos_token) == 0


def test_tokens_of_pieces_are_read_as_the_bytes_they_stand_for(released, text, small):
    run = open_run(small, str(text), f"released={released}")
    tokenizer, sizes = run.corpus.tokenizer, run.corpus.token_bytes
    numbers = tokenizer("there lived é\n", add_special_tokens=False)["input_ids"]
    spelled = [bpe.token_text(tokenizer, i) for i in numbers]
    raw = b"".join(part if isinstance(part, bytes) else part.encode() for part in spelled)
    assert raw == " there lived é\n".encode() and sizes[numbers].sum() == len(raw)
    assert tokenizer.convert_ids_to_tokens([0, *numbers[:1]])[0] == "<s>" and sizes[0] == 0
    stream = run.corpus.tokens("stories", "train")
    documents = tokenizer.decode(stream).split("<s>")[1:]
    known = tiny.texts()["stories"]
    assert len(documents) > 2 and {document.strip() for document in documents} <= set(known)


def test_the_profile_takes_the_models_sizes_and_refuses_a_hook_they_lack(released):
    folders, smoke = given.choose(f"released={released}"), settings.load("smoke")
    fitted = given.fit(smoke, folders)
    assert (fitted.model.d_model, fitted.model.d_mlp, fitted.model.heads, fitted.corpora.vocab) == (32, 64, 4, 300)
    assert fitted.corpora.context == smoke.corpora.context  # the model's is longer
    with pytest.raises(lm.ModelError, match="'blocks.3.hook_mlp_out' is no hook point of this model"):
        given.fit(settings.choose("smoke", hook="blocks.3.hook_mlp_out"), folders)


def test_roles_by_name_and_by_place(released):
    four = {role: released / name for role, (name, _) in given.RELEASED.items()}
    assert given.choose("") == {}
    assert given.choose(f"lua={four['lua']}, base={four['base']}") == {role: four[role] for role in ("base", "lua")}
    assert list(given.choose(",".join(map(str, four.values())))) == list(four)
    for given in (f"released={released}", ",".join(map(str, four.values()))):
        folders = given.choose(given)
        assert given.choose(given.resolved(given, folders)) == folders


@pytest.mark.parametrize("given", ["lua=x", "base=x,base=y", "base=x,poet=y", "a,b,c,d,e", "base=x,y", ","])
def test_other_forms_are_refused_in_one_sentence(given, tmp_path):
    with pytest.raises(given_tokenizers.ModelsError, match="at most one folder for each of base, lua, stories, merged"):
        given.choose(given)
    with pytest.raises(given_tokenizers.ModelsError, match="gone does not exist; give a folder in Hugging Face layout"):
        given.choose(str(tmp_path / "gone"))


def damage(folder, change):
    """What makes the Lua child of the released four unfit, and what is said of it."""
    if change in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / change).unlink()
    elif change == "index":
        (folder / "model.safetensors.index.json").write_text("[1]")
    elif change == "shard":
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    elif change == "architecture":
        (folder / "config.json").write_text(json.dumps(AUTHORS | dict(model_type="llama")))
    elif change == "unknown":
        (folder / "config.json").write_text(json.dumps(AUTHORS | dict(model_type="poem")))
    elif change == "sizes":
        (folder / "config.json").write_text(json.dumps(AUTHORS | dict(intermediate_size=48)))
    else:
        state = json.loads((folder / "tokenizer.json").read_text())
        vocab = state["model"]["vocab"]
        last, other = sorted(vocab, key=vocab.get)[-2:]
        vocab[last], vocab[other] = vocab[other], vocab[last]
        (folder / "tokenizer.json").write_text(json.dumps(state))


@pytest.mark.parametrize("change, message", [
    ("config.json", "lacks config.json"), ("model.safetensors", "lacks model.safetensors"),
    ("tokenizer.json", "lacks tokenizer.json"), ("index", "is damaged"), ("shard", "lacks model-1.safetensors"),
    ("architecture", "is of the architecture llama and the base of mistral"), ("unknown", "cannot be read"),
    ("sizes", r"mlp.*shape \(48, 32\) where the base has \(64, 32\)|mlp.*shape \(32, 48\)"),
    ("vocabulary", "another vocabulary than the base .*; all must share one tokenizer"),
])
def test_models_that_do_not_belong_together_are_one_sentence(change, message, released, tmp_path):
    shutil.copytree(released, tmp_path / "hub")
    damage(tmp_path / "hub" / given.RELEASED["lua"][0], change)
    with pytest.raises(given_tokenizers.ModelsError, match=message) as caught:
        given.choose(f"released={tmp_path / 'hub'}")
    assert "\n" not in str(caught.value)


def test_other_architectures_are_not_the_authors(byte_level, tmp_path):
    for name, _ in given.RELEASED.values():
        put(tmp_path / name, network(CONFIGS["gpt2"]), byte_level)
    with pytest.raises(given_tokenizers.ModelsError, match="are of the architecture mistral, and .* is gpt2"):
        given.choose(f"released={tmp_path}")
    with pytest.raises(given_tokenizers.ModelsError, match="asks for the authors' four checkpoints"):
        given.choose(f"released={tmp_path / 'none'}")


def test_released_checkpoints_are_fetched_once_and_whole(released, tmp_path, monkeypatch):
    import huggingface_hub

    asked, pins = [], dict(given.RELEASED.values())

    class Api:
        def list_repo_commits(self, name, repo_type):
            return [types.SimpleNamespace(commit_id=start.ljust(40, "0")) for start in ("ffff", pins[name])]

        def repo_info(self, name, repo_type, revision, timeout):
            asked.append(name)
            return types.SimpleNamespace(sha=revision)

    def snapshot(name, revision, allow_patterns, local_dir):
        assert revision == pins[name].ljust(40, "0") and "*.safetensors" in allow_patterns
        shutil.copytree(released / name, local_dir)
        if len(asked) == 3:
            raise OSError("connection cut\nin two lines")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(given_tokenizers.ModelsError, match=r"Could not fetch the model .*TinyStories-ft \(connection cut\);"):
        given.choose("released", tmp_path)
    assert not (tmp_path / "released" / given.RELEASED["stories"][0]).exists()
    folders = given.choose("released", tmp_path)
    assert len(asked) == 5 and given.choose("released", tmp_path) == folders and len(asked) == 5
    assert given.choose(given.resolved("released", folders)) == folders


def test_every_pin_on_the_hub_is_a_commit_and_an_unknown_one_is_refused(monkeypatch):
    import huggingface_hub

    pins = [pin for _, pin in given.RELEASED.values()] + [pin for *_, pin in sources.HUB.values()]
    assert all(re.fullmatch("[0-9a-f]{7}|[0-9a-f]{40}", pin) for pin in pins)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_commits", lambda *_, **__: [])
    with pytest.raises(ValueError, match="its history has 0 commits a0b1aea"):
        hub.commit("me/model", "a0b1aea", "model")


def test_tokenizers_that_cannot_be_read_here(tmp_path):
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a")), bos_token="a")
    with pytest.raises(given_tokenizers.ModelsError, match=r"is no byte-pair encoding"):
        given.choose(str(put(tmp_path / "words", network(CONFIGS["llama"]), words)))
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0, "b": 1}, [])), bos_token="a")
    with pytest.raises(given_tokenizers.ModelsError, match="spells its tokens neither as bytes"):
        given_tokenizers.spell(bare)


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_way_to_the_logits_is_the_models_own(kind):
    model = network(CONFIGS[kind]).eval()
    hook, tokens = "blocks.1.mlp.hook_post", torch.randint(0, 300, (1, 12))
    d = lm.activations(model, tokens, hook).shape[-1]
    direction, parts = 0.3 * torch.randn(1, d), []
    handle = logit_lens.final_norm(model).register_forward_pre_hook(lambda _, args: parts.append(args[0][0]))
    with torch.inference_mode():
        clean = model(input_ids=tokens).logits[0]
        with lm.hooked(model, lambda x: x + direction, hook):
            moved = model(input_ids=tokens).logits[0]
        handle.remove()
        written = logit_lens.residual(model, direction, hook)
        torch.testing.assert_close(parts[1] - parts[0], written.expand(12, -1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logit_lens.unembed(model, parts[0]), clean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logit_lens.unembed(model, parts[0] + written), moved, atol=1e-4, rtol=1e-3)
        effect, small = logit_lens.logits(model, written)[0], logit_lens.unembed(model, 1e3 * written)[0]
        assert logit_lens.residual(model, written, "blocks.1.hook_mlp_out") is written
    bias = getattr(logit_lens.final_norm(model), "bias", None)
    if bias is not None:  # of a large write alone the norm's bias remains
        small = small - logit_lens.unembed(model, torch.zeros_like(written))[0]
    assert np.corrcoef(effect, small.detach())[0, 1] > 0.9999


def test_merge_command_does_what_the_yaml_says(released, tmp_path, capsys):
    lua, stories = (released / given.RELEASED[role][0] for role in ("lua", "stories"))
    plan = dict(merge_method="slerp", base_model=str(lua), parameters=dict(t=0.58), dtype="float16",
                models=[dict(model=str(lua)), dict(model=str(stories))])
    (tmp_path / "r.yml").write_text(yaml.safe_dump(plan))
    assert cli.main(["merge", str(tmp_path / "r.yml"), "--to", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith(f"{stories} at t = 0.58.\n")
    want = merging.slerp(lm.load(lua).state_dict(), lm.load(stories).state_dict(), 0.58)
    got = lm.load(tmp_path / "out").state_dict()
    assert all(torch.equal(got[name], want[name]) for name in want)
    given.choose(f"base={lua},merged={tmp_path / 'out'}")  # its tokenizer came along
    with pytest.raises(mergekit.RecipeError, match="is not empty; name a new folder"):
        mergekit.apply(tmp_path / "r.yml", tmp_path / "out")


def test_features_at_any_hook_of_any_layer(byte_level, tmp_path):
    model = network(CONFIGS["gpt_neox"])
    tokens = np.random.default_rng(0).integers(0, 290, (3, 20))
    for hook, width in (("blocks.0.mlp.hook_post", 24), ("blocks.1.hook_mlp_out", 16),
                        ("blocks.1.hook_resid_post", 16)):
        assert features.text_activations(model, tokens, hook).shape == ((tokens > 0).sum(), width)


def test_keys_of_trained_models_know_nothing_of_given_ones(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(store, "code_version", lambda *modules: " ".join(m.__name__ for m in modules))
    monkeypatch.setattr(store, "make", lambda root, stage, build, config, inputs, code: asked.append(code)
                        or store.Artefact(tmp_path, stage, 0.0))
    run = Run(settings.load("smoke"), tmp_path, tmp_path)
    for name in ("base", "lua", "stories"):
        run.sae_stage(name)
    assert len(asked) == 7 and not any("own" in code for code in asked)
