"""Given models that cannot be used, or do not belong together: one sentence each. And how they come from the hub."""

import json
import re
import shutil
import types

import networks
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from unifeat import lm
from unifeat.lineage import given, given_tokenizers, read
from unifeat.lineage.given_tokenizers import ModelsError
from unifeat.text import hub

PINNED = read("released")


def folders(small, tmp_path, toml):
    return given.folders(read(small(toml)), tmp_path)


def damage(folder, change):
    """What makes the Lua child of the released four unfit."""
    if change in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / change).unlink()
    elif change == "index":
        (folder / "model.safetensors.index.json").write_text("[1]")
    elif change == "shard":
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    elif change == "architecture":
        (folder / "config.json").write_text(json.dumps(networks.AUTHORS | dict(model_type="llama")))
    elif change == "unknown":
        (folder / "config.json").write_text(json.dumps(networks.AUTHORS | dict(model_type="poem")))
    elif change == "sizes":
        (folder / "config.json").write_text(json.dumps(networks.AUTHORS | dict(intermediate_size=48)))
    elif change == "vocabulary":
        state = json.loads((folder / "tokenizer.json").read_text())
        vocab = state["model"]["vocab"]
        last, other = sorted(vocab, key=vocab.get)[-2:]
        vocab[last], vocab[other] = vocab[other], vocab[last]
        (folder / "tokenizer.json").write_text(json.dumps(state))
    else:
        shutil.rmtree(folder)


@pytest.mark.parametrize("change, message", [
    ("gone", "does not exist; give a folder in Hugging Face layout"),
    ("config.json", "lacks config.json"), ("model.safetensors", "lacks model.safetensors"),
    ("tokenizer.json", "lacks tokenizer.json"), ("index", "is damaged"), ("shard", "lacks model-1.safetensors"),
    ("architecture", "is of the architecture llama and .* of mistral; features are followed through models of one"),
    ("unknown", "cannot be read"),
    ("sizes", r"mlp.*shape \(48, 32\) where .* has \(64, 32\)|mlp.*shape \(32, 48\)"),
    ("vocabulary", "has another vocabulary than .*; all must share one tokenizer"),
])
def test_models_that_do_not_belong_together_are_one_sentence(change, message, released, small, tmp_path):
    """All of one lineage: children, merges (of different shapes above all) and what they come from."""
    shutil.copytree(released, tmp_path / "hub")
    damage(tmp_path / "hub" / networks.RELEASED["lua"], change)
    with pytest.raises(lm.ModelError, match=message) as caught:
        folders(small, tmp_path, networks.local(tmp_path / "hub"))
    assert "\n" not in str(caught.value) and "model lua" in str(caught.value) or change in ("index", "unknown")


def test_a_tokenizer_larger_than_its_model(released, small, tmp_path):
    shutil.copytree(released, tmp_path / "hub")
    for name in networks.RELEASED.values():
        (tmp_path / "hub" / name / "config.json").write_text(json.dumps(networks.AUTHORS | dict(vocab_size=200)))
    toml = networks.local(tmp_path / "hub")
    found = folders(small, tmp_path, toml)
    with pytest.raises(ModelsError, match=r"has 300 tokens and the model 200; give the model with its own tokenizer"):
        given.fit(read(small(toml)), found)


def test_tokenizers_that_cannot_be_read_here(small, tmp_path):
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a")), bos_token="a")
    networks.put(tmp_path / "words", networks.network(networks.CONFIGS["llama"]), words)
    with pytest.raises(ModelsError, match=r"is no byte-pair encoding"):
        folders(small, tmp_path, '[models.a]\ngiven = "words"\n')
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0, "b": 1}, [])), bos_token="a")
    with pytest.raises(ModelsError, match="spells its tokens neither as bytes"):
        given_tokenizers.spell(bare)


# The hub ------------------------------------------------------------------------------------------------------------

def at(one):
    return f"{one.given}@{one.revision}"


def test_revisions_of_one_model_in_the_hubs_layout_are_models_of_their_own(tmp_path, small):
    """The way of Pythia and OLMo: checkpoints of a training as revisions of one repository."""
    cache = tmp_path / "models--me--suite"
    for seed, (name, commit) in enumerate({"step0": "a" * 40, "steps/1000": "b" * 40, "main": "c" * 40}.items()):
        networks.put(cache / "snapshots" / commit, networks.network(networks.CONFIGS["llama"], seed),
                     networks.tokenizer("llama"))
        (cache / "refs" / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / "refs" / name).write_text(f"{commit}\n")
    tables = [f'[models.{name}]\ngiven = "{cache}"\n{more}text = ["english"]\n'
              for name, more in (("first", 'revision = "step0"\n'), ("later", 'revision = "steps/1000"\n'),
                                 ("last", ""), ("digits", 'revision = "bbbb"\n'))]
    found = folders(small, tmp_path, "".join(tables))
    assert [found[name].name[0] for name in ("first", "later", "last", "digits")] == ["a", "b", "c", "b"]
    with pytest.raises(ModelsError, match="has 0 snapshots of the revision step7; name one of main, step0, steps/1000"):
        folders(small, tmp_path, tables[0].replace("step0", "step7"))


@pytest.mark.parametrize("pin, looked_up", [("step1000", []), ("main", []), ("abc1234", ["me/model"])])
def test_a_branch_is_a_revision_too(monkeypatch, pin, looked_up):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_commits", lambda self, name, **_: asked.append(name) or [
        types.SimpleNamespace(commit_id=pin.ljust(40, "0"))])
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda self, name, revision, **_: types.SimpleNamespace(
        sha=revision))
    assert hub.commit("me/model", pin, "model").startswith(pin) and asked == looked_up


def test_models_on_the_hub_are_fetched_once_and_whole(released, tmp_path, monkeypatch, capsys):
    import huggingface_hub

    asked, pins = [], {one.given: one.revision for one in PINNED.models.values()}

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
    with pytest.raises(ModelsError, match=r"Could not fetch the model .*TinyStories-ft \(connection cut\); check the"):
        given.folders(PINNED, tmp_path)
    assert not (tmp_path / "models" / at(PINNED.models["stories"])).exists()
    found = given.folders(PINNED, tmp_path)
    assert found == {name: tmp_path / "models" / at(one) for name, one in PINNED.models.items()}
    assert len(asked) == 5 and given.folders(PINNED, tmp_path) == found and len(asked) == 5
    assert f"Fetched {PINNED.models['base'].given} at {pins[PINNED.models['base'].given]}" in capsys.readouterr().out


def test_every_pin_on_the_hub_is_a_commit_and_an_unknown_one_is_refused(monkeypatch):
    import huggingface_hub

    pins = [one.revision for one in PINNED.models.values()] + [one.hub.revision for one in PINNED.text.values()]
    assert all(re.fullmatch("[0-9a-f]{7}|[0-9a-f]{40}", pin) for pin in pins)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_commits", lambda *_, **__: [])
    with pytest.raises(ValueError, match="its history has 0 commits a0b1aea"):
        hub.commit("me/model", "a0b1aea", "model")
