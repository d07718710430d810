"""Nothing that is read can run code, leave its place, fill the memory or reach the network unasked."""

import ast
import contextlib
import json
import pickle
import shutil
import socket
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from unifeat import lm, sae
from unifeat.lineage import read
from unifeat.sae import folders
from unifeat.sae import training as sae_training
from unifeat.support import paths, store
from unifeat.support.errors import UnifeatError
from unifeat.text import corpora, files, sources

P = read("smoke")
TEXT = {name: replace(one, source="", language="") for name, one in P.text.items()}  # from where the corpora say
CONFIG = replace(P.corpora, source="files", vocab=300, context=16)
SAE = replace(P.sae, width=8, k=2)
MODEL = replace(P.model, d_model=8, d_mlp=12, heads=2, kv_heads=1)


class Planted:
    """A pickle that, when it is opened, writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "executed")


@pytest.fixture
def mark(tmp_path):
    """The file that planted code would write; it must not exist at the end."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Planted(path)))
    path.unlink()  # the trap works
    yield path
    assert not path.exists(), "planted code was executed"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Tiny corpora, a model and an SAE, each in its own folder."""
    root, rng = tmp_path_factory.mktemp("built"), np.random.default_rng(0)
    for domain in TEXT:
        (root / "text" / domain).mkdir(parents=True)
        for i in range(12):
            words = ["".join(chr(97 + c) for c in rng.integers(0, 26, 5)) for _ in range(50)]
            (root / "text" / domain / f"{i}.txt").write_text(" ".join(words))
    (root / "corpora").mkdir()
    corpora.build(replace(CONFIG, folder=str(root / "text")), TEXT, root / "corpora", root)
    tokenizer = corpora.load(root / "corpora").tokenizer
    lm.save(lm.build(MODEL, len(tokenizer), 16), tokenizer, root / "model")
    sae.save(sae_training.init(SAE, 12, 0, 1.0, torch.zeros(12)), root / "sae")
    return root


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


READ = {"sae": sae.load, "model": lm.load, "corpora": corpora.load, "text": lambda folder: files.read(
    next(folder.glob("planted*")))}
PLACES = ["sae/sae.safetensors", "sae/config.json", "model/model.safetensors", "model/config.json",
          "corpora/corpora.json", "corpora/lua.train.npy", "corpora/tokenizer/tokenizer.json", "text/planted.parquet",
          "corpora/tokenizer/tokenizer_config.json", "text/planted.jsonl", "text/planted.txt", "text/planted.jsonl.gz",
          "text/planted.jsonl.xz", "text/planted.jsonl.zst"]


@pytest.mark.parametrize("place", PLACES)
def test_a_pickle_in_the_place_of_any_file_is_refused_unexecuted(copy, mark, place):
    (copy / place).write_bytes(pickle.dumps(Planted(mark)))
    kind = place.split("/")[0]
    with pytest.raises(UnifeatError, match="cannot be|does not hold|is not|is binary|is damaged"):
        READ[kind](copy / kind)


@pytest.mark.parametrize("place", ["match.npz", "density.npy"])
def test_a_pickle_in_an_array_is_refused_unexecuted(tmp_path, mark, place):
    trap = np.array([Planted(mark)], dtype=object)
    np.savez(tmp_path / "match.npz", indices=trap, indptr=trap, format=trap, shape=trap, data=trap)
    np.save(tmp_path / "density.npy", trap)
    for raw in (False, True):
        if raw:
            (tmp_path / place).write_bytes(pickle.dumps(Planted(mark)))
        with pytest.raises(ValueError, match="pickle"):
            dict(np.load(tmp_path / place, allow_pickle=False))
        if place.endswith("npz"):
            with pytest.raises(ValueError, match="pickle"):
                sparse.load_npz(tmp_path / place)


def test_weights_as_a_pickle_beside_or_instead_of_safetensors_are_not_read(copy, mark):
    trap = pickle.dumps(Planted(mark))
    for name in ("pytorch_model.bin", "model.bin", "training_args.bin", "optimizer.pt"):
        (copy / "model" / name).write_bytes(trap)
    lm.load(copy / "model")
    (copy / "model" / "model.safetensors").unlink()
    with pytest.raises(lm.ModelError, match="lacks model.safetensors .there is weights as a pickle"):
        lm.load(copy / "model")


@pytest.mark.parametrize("planted", ["object", "in a tensor's place", "pickle", "two pickles"])
def test_a_pickle_in_a_dictionary_of_dictionary_learning_is_refused_unexecuted(tmp_path, mark, planted):
    """Its format is a pickle by nature; one that names anything but tensors is not opened."""
    trap, path = Planted(mark), tmp_path / "ae.pt"
    state = {"encoder.weight": torch.zeros(4, 3), "encoder.bias": torch.zeros(4), "decoder.weight": torch.zeros(3, 4),
             "bias": torch.zeros(3)}
    (tmp_path / "config.json").write_text(json.dumps(dict(trainer=dict(
        dict_class="AutoEncoder", dict_size=4, activation_dim=3, submodule_name="resid_post_layer_0"))))
    torch.save(state, path)
    assert folders.read(tmp_path).w_enc.shape == (4, 3)
    if planted == "object":
        torch.save(trap, path)
    elif planted == "in a tensor's place":
        torch.save(state | {"bias": trap}, path)
    elif planted == "pickle":
        path.write_bytes(pickle.dumps(trap))
    else:  # the second is not looked at, and torch may read it
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("other/data.pkl", pickle.dumps(trap, protocol=2))
            file.writestr("ae/data.pkl", pickle.dumps(trap, protocol=2))
    if planted != "two pickles":
        with pytest.raises(UnifeatError, match="which could run code, and is not opened|cannot be loaded"):
            folders.read(tmp_path)
    else:
        with contextlib.suppress(UnifeatError):
            folders.read(tmp_path)


@pytest.mark.parametrize("kind", ["known", "own"])
def test_code_beside_a_model_is_not_run(copy, mark, monkeypatch, kind):
    import transformers

    for name in ("modeling_x.py", "configuration_x.py", "tokenization_x.py"):
        (copy / "model" / name).write_text(f"open({str(mark)!r}, 'w')\nclass X: pass\n")
    path = copy / "model" / "config.json"
    config = json.loads(path.read_text())
    config["auto_map"] = {"AutoConfig": "configuration_x.X", "AutoModelForCausalLM": "modeling_x.X"}
    config["model_type"] = config["model_type"] if kind == "known" else "x"
    path.write_text(json.dumps(config))
    passed, load = [], transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained",
                        lambda *args, **options: passed.append(options) or load(*args, **options))
    if kind == "known":
        lm.load(copy / "model")
    else:
        with pytest.raises(lm.ModelError):
            lm.load(copy / "model")
    assert [(p["trust_remote_code"], p["local_files_only"], p["use_safetensors"]) for p in passed] == [
        (False, True, True)] * (kind == "known")


def test_code_beside_a_data_set_is_not_run(tmp_path, mark):
    import pandas

    folder = tmp_path / TEXT["lua"].hub.name
    folder.mkdir(parents=True)
    config = replace(CONFIG, source="hub", folder=str(tmp_path))
    for script in (f"{folder.name}.py", "dataset.py"):
        (folder / script).write_text(f"open({str(mark)!r}, 'w')\n")
    with pytest.raises(UnifeatError, match="Dataset scripts are no longer supported"):
        sources.documents("lua", TEXT["lua"], config, tmp_path)
    (folder / f"{folder.name}.py").unlink()
    for planted in ("train.pkl", "train.pickle", "train.tar"):
        (folder / planted).write_bytes(pickle.dumps(Planted(mark)))
        with pytest.raises(UnifeatError, match="Could not read the data set"):
            sources.documents("lua", TEXT["lua"], config, tmp_path)
        (folder / planted).unlink()
    pandas.DataFrame({"content": ["local x = 1"]}).to_parquet(folder / "train.parquet")
    assert sources.documents("lua", TEXT["lua"], config, tmp_path)[0].texts == ["local x = 1"]


def test_the_package_opens_no_pickle_and_trusts_no_remote_code():
    """As written: arrays are loaded with allow_pickle=False, and nothing is called that can unpickle or evaluate."""
    seen = 0
    for path in sorted((paths.ROOT / "unifeat").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}, path
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert name not in {"eval", "exec", "pd.read_pickle", "os.system"}, path
            if name == "torch.load":  # of dictionary_learning's format: see below
                assert path.name == "dictionaries.py" and given["weights_only"] == "True", path
            assert given.get("trust_remote_code", "False") == given.get("shell", "False") == "False", path
            if name in {"np.load", "numpy.load"}:
                assert given["allow_pickle"] == "False", path
                seen += 1
    assert seen >= 5


# The network -------------------------------------------------------------------------------------------------------

def test_nothing_between_own_texts_and_features_reaches_the_network(built, tmp_path, monkeypatch):
    calls = []

    def refuse(*arguments, **_):
        calls.append(arguments)
        raise OSError("the network is shut")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    config = replace(CONFIG, folder=str(built / "text"))
    made = store.make(tmp_path, "corpora", lambda folder: corpora.build(config, TEXT, folder, tmp_path),
                      config=[config, sources.fingerprint(TEXT, config)])
    corpus = corpora.load(made.folder)
    model = lm.build(MODEL, len(corpus.tokenizer), 16)
    lm.save(model, corpus.tokenizer, tmp_path / "model")
    one = sae.load(built / "sae")
    tokens = torch.from_numpy(corpus.blocks("lua", "train")[:2].astype(np.int64))
    one.encode(lm.activations(lm.load(tmp_path / "model"), tokens).flatten(0, 1))
    lm.bridge(tmp_path / "model")
    assert calls == []
    with pytest.raises(files.CorpusError, match="Could not read the data set"):  # one of the named downloads
        sources.documents("lua", TEXT["lua"], replace(config, source="hub", folder=""), tmp_path)
    assert calls
