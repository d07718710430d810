"""What cannot be compared: one sentence that names it and says what to do, exit status 2, and nothing written."""

import shutil

import networks
import pytest
import torch
from safetensors.torch import save_file

from unifeat import __main__ as cli
from unifeat import sae
from unifeat.track import command, inputs, text

ONE = sae.Sae("topk", 4, torch.eye(64), torch.zeros(64), torch.eye(64), torch.zeros(64), 1.0)


@pytest.fixture
def refused(store, tmp_path, capsys):
    """Function that runs a track which is to be refused; returns what it says."""
    def run(*arguments):
        to = tmp_path / "to"
        place = [] if "--to" in arguments else ["--to", str(to)]
        status = cli.main(["track", *map(str, arguments), "--quick", *place])
        said = capsys.readouterr().err.strip()
        assert status == 2 and "Traceback" not in said and not (to / "index.html").exists()
        sentence = said.splitlines()[-1]
        assert sentence.endswith((".", ")")) and len(sentence) < 700
        return sentence
    return run


def test_folders_that_hold_neither_a_model_nor_an_sae(refused, models, text, tmp_path):
    (tmp_path / "empty").mkdir()
    for one, words in ((tmp_path / "no where", "does not exist; give the folder of a model"),
                       (tmp_path / "empty", "holds neither a model"), (text / "plain" / "all.jsonl", "is a file"),
                       ("gpt2", "or a model's name on the hub as owner/name"), ("x\0y", "cannot be read")):
        assert words in refused(models["base"], one, "--text", text)


def test_a_folder_of_several_saes(refused, models, text, tmp_path):
    for seed in (0, 1):
        sae.save(ONE, tmp_path / "saes" / f"seed{seed}")
    assert "holds several SAEs (seed0, seed1); name one" in refused(tmp_path / "saes", tmp_path / "saes" / "seed0",
                                                                   "--text", text, "--model", models["base"])


def test_a_model_and_an_sae(refused, models, text, tmp_path):
    sae.save(ONE, tmp_path / "sae")
    assert "give two models, or two SAEs" in refused(models["base"], tmp_path / "sae", "--text", text)


def test_options_of_the_other_kind(refused, models, text, tmp_path):
    assert "--twin-a is for SAEs" in refused(models["base"], models["copy"], "--text", text, "--twin-a", "x")
    sae.save(ONE, tmp_path / "sae")
    said = refused(tmp_path / "sae", tmp_path / "sae", "--text", text, "--model", models["base"], "--activations", 2000)
    assert "--activations is for models" in said
    for options in ([], ["--model-a", models["base"]]):
        said = refused(tmp_path / "sae", tmp_path / "sae", "--text", text, *options)
        assert "need the language model that they read" in said


@pytest.fixture
def broken(models, tmp_path):
    """Function from what is wrong with it to a copy of the base model."""
    def make(kind):
        folder = shutil.copytree(models["base"], tmp_path / f"model 'x' 💥 {kind}")
        if kind == "no weights":
            (folder / "model.safetensors").unlink()
        if kind == "pickled weights":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        if kind == "cut weights":
            (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
        if kind == "no tokenizer":
            (folder / "tokenizer.json").unlink()
        if kind == "no json":
            (folder / "config.json").write_text("{")
        if kind == "other tokenizer":
            networks.tokenizer("mistral").save_pretrained(folder)
        if kind == "not finite":
            save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
        return folder
    return make


@pytest.mark.parametrize(("kind", "words"), [
    ("no weights", "lacks model.safetensors"), ("pickled weights", "lacks model.safetensors"),
    ("cut weights", "is damaged or cut off"), ("no tokenizer", "lacks tokenizer.json"), ("no json", "cannot be read"),
    ("other tokenizer", "another "
                        "vocabulary"), ("not finite", "lacks the tensor")])
def test_broken_models(refused, models, text, broken, kind, words):
    assert words in refused(models["base"], broken(kind), "--text", text)


def test_models_of_two_families(refused, models, text):
    said = refused(models["base"], models["mistral"], "--text", text)
    assert "features are followed through models of one family" in said


@pytest.mark.parametrize("hook", ["blocks.7.mlp.hook_post", "blocks.0.attn.hook_z", "nonsense", "$(rm -rf /)"])
def test_a_hook_that_is_none(refused, models, text, hook):
    said = refused(models["base"], models["copy"], "--text", text, "--hook", hook)
    assert "is no hook point of this model; use blocks.N" in said


@pytest.mark.parametrize(("name", "content", "words"), [
    ("empty.txt", b"", "is empty"), ("space.txt", b" \n\n ", "is empty"), ("binary.txt", b"a\0b" * 5000, "is binary"),
    ("latin.txt", "ä".encode("latin-1") * 5000, "is not UTF-8"), ("rows.jsonl", b"[1]\n" * 90, "is not a JSON object"),
    ("short.txt", b"some words to read. " * 200, "is too short"), ("tiny.txt", b"word", "is too short"),
    ("table.parquet", b"PAR1" * 100, "is not a readable parquet file"),
    ("image.png", b"PNG", "no text that can be read")])
def test_text_that_cannot_be_used(refused, models, tmp_path, name, content, words):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / name).write_bytes(content)
    for where in (tmp_path / "text", tmp_path / "text" / name)[:1 if name.endswith("png") else 2]:
        assert words in refused(models["base"], models["copy"], "--text", where)


def test_text_that_is_too_short_says_how_much_is_needed(refused, models, tmp_path):
    (tmp_path / "short.txt").write_text("\n".join(f"line {i} of some text to read" for i in range(300)))
    said = refused(models["base"], models["copy"], "--text", tmp_path / "short.txt")
    assert "are held out to compare features on" in said and "give at least" in said and "kB of text" in said


def test_text_that_is_not_there_or_in_too_many_folders(refused, models, tmp_path):
    ends = (models["base"], models["copy"], "--text")
    assert "does not exist; give a folder of text" in refused(*ends, tmp_path / "none")
    for i in range(text.DOMAINS + 1):
        (tmp_path / "many" / str(i)).mkdir(parents=True)
        (tmp_path / "many" / str(i) / "a.txt").write_text("word " * 100)
    assert "subfolders, each a domain" in refused(*ends, tmp_path / "many")


def test_a_file_beyond_all_measure(refused, models, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MOST", 100)
    (tmp_path / "big.txt").write_text("word " * 100)
    assert "give the first part of it" in refused(models["base"], models["copy"], "--text", tmp_path / "big.txt")


def test_saes_that_do_not_fit(refused, models, text, tmp_path):
    whole, narrow = tmp_path / "sae", tmp_path / "narrow"
    sae.save(ONE, whole)
    sae.save(sae.Sae("topk", 4, torch.eye(16), torch.zeros(16), torch.eye(16), torch.zeros(16), 1.0), narrow)
    said = refused(whole, narrow, "--text", text, "--model", models["base"])
    assert "reads activations of 16 numbers, and blocks.0.mlp.hook_post of" in said and "has 64" in said
    said = refused(whole, whole, "--text", text, "--model-a", models["base"], "--model-b", models["mistral"])
    assert "have different tokenizers" in said
    (whole / "sae.safetensors").write_bytes(bytes(100))
    assert "cannot be loaded" in refused(whole, narrow, "--text", text, "--model", models["base"])


@pytest.mark.parametrize("content", [dict(mine="x"), {"index.html": "mine"}, {"index.html": "x", "card.json": "{}"},
                                     {"card.json": '{"schema": "unifeat.track/2"}', "notes.txt": "mine"}])
def test_a_folder_that_holds_something_is_not_written_to(refused, models, text, tmp_path, content):
    (tmp_path / "mine").mkdir()
    for name, words in content.items():
        (tmp_path / "mine" / name).write_text(words)
    assert "is not empty" in refused(models["base"], models["copy"], "--text", text, "--to", tmp_path / "mine")
    assert {path.name: path.read_text() for path in (tmp_path / "mine").iterdir()} == content


def test_a_file_is_no_folder_to_write_to(refused, models, text, tmp_path):
    (tmp_path / "mine").write_text("x")
    for place in (tmp_path / "mine", tmp_path / "mine" / "below" / "it"):
        assert "goes through a file" in refused(models["base"], models["copy"], "--text", text, "--to", place)


def test_a_folder_that_is_not_ours(refused, models, text, tmp_path, monkeypatch):
    monkeypatch.setattr(command.os, "access", lambda *_: False)
    said = refused(models["base"], models["copy"], "--text", text, "--to", tmp_path / "to")
    assert "cannot be written to" in said


@pytest.mark.parametrize(("option", "value", "words"), [
    *(("--fail-under", value, "give a number from 0 to 1") for value in ("1.5", "-1", "nan", "many")),
    *(("--activations", value, "give one from 1000 on") for value in ("0", "-5", "1e6", "9" * 30, "_", "1__0"))])
def test_a_number_that_is_none(option, value, words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["track", "a", "b", "--text", "c", f"{option}={value}"])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_names_and_the_default_folder(tmp_path):
    for first, second in (("/m/a b", "/m/ü'\"💥"), ("/x/model", "/y/model"), ("/m/x", "/m/x")):
        labels = inputs.labels(first, second)
        things = [inputs.Thing("model", where, label) for where, label in zip((first, second), labels, strict=True)]
        folder = command.destination(None, *things)
        assert labels[0] != labels[1] and folder.parent == type(folder)() and folder.name.isascii()
