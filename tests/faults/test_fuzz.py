"""Random input of every kind: it is taken, or refused in one sentence; never another error."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_fuzz_lineages  # noqa: F401 - its cases count too
import test_fuzz_others  # noqa: F401
import torch
from fuzzing import CASES, PLANNED, attempt, fuzz
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unifeat import lm, matching, merging, sae
from unifeat.lineage import read
from unifeat.sae import training as sae_training
from unifeat.sae.model import SCALARS as SCALARS_OF_AN_SAE
from unifeat.support import paths
from unifeat.text import corpora

P = read("smoke")


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    print("\ncases tried: " + ", ".join(f"{name} {count}" for name, count in CASES.items()))


def test_the_documentation_says_how_many_cases_there_are():
    assert f"{sum(PLANNED):,} generated" in (paths.ROOT / "docs" / "upkeep.md").read_text(encoding="utf-8")


# Corpora -----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a.txt", "b.md", "a.jsonl", "a.jsonl.gz", "a.jsonl.xz", "a.jsonl.zst", "a.parquet", "a.lua",
                         "a.py", ".hidden.txt", "sub/a.txt", "a.pdf", "\udcff.txt", "a b\n.txt", "\u202e.txt"])
ROWS = st.one_of(st.dictionaries(st.sampled_from(["text", "content", "body"]),
                                 st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text())), max_size=2),
                 st.text(max_size=5), st.lists(st.none(), max_size=2), st.integers())
DATA = st.one_of(
    st.binary(max_size=300), st.text(max_size=600).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(st.text(min_size=1, max_size=200), st.sampled_from(["utf-16", "utf-8-sig", "utf-7", "utf-32"])).map(
        lambda pair: pair[0].encode(pair[1], "replace")),
    st.lists(ROWS, max_size=8).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.sampled_from([b"[" * 10**5, b'{"text": "' + b"\\ud800 x" * 50 + b'"}', b"\0" * 500, b"9" * 10**4]))
GOOD = {domain: [" ".join(f"{domain}{i}{j * i % 7}" for j in range(60)) for i in range(8)]
        for domain in P.text}


@fuzz(80)
@given(st.dictionaries(NAMES, DATA, min_size=1, max_size=3), st.sampled_from(P.domains),
       st.sampled_from([257, 300]), st.sampled_from([0, 1, 900]))
def test_corpora_folders(tmp_path, files, domain, vocab, limit):
    shutil.rmtree(tmp_path / "text", ignore_errors=True)
    for name, texts in GOOD.items():
        (tmp_path / "text" / name).mkdir(parents=True)
        (tmp_path / "text" / name / "good.txt").write_text("<|endoftext|>".join(texts))
    for name, data in files.items():
        path = tmp_path / "text" / domain / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    config = replace(P.corpora, source="files", folder=str(tmp_path / "text"), vocab=vocab, context=16,
                     max_bytes=limit)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    (tmp_path / "out").mkdir()
    attempt("corpora folders", lambda: corpora.build(config, P.text, tmp_path / "out", tmp_path) or True)


# Models and SAEs ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny model and an SAE."""
    root = tmp_path_factory.mktemp("whole")
    model = lm.build(replace(P.model, d_model=8, d_mlp=12, heads=2, kv_heads=1), 16, 8)
    model.save_pretrained(root / "model")
    config = replace(P.sae, width=6, k=2)
    sae.save(sae_training.init(config, 12, 0, 1.0, torch.zeros(12), lm.weights_hash(model)), root / "sae")
    return root


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**6), st.floats(), st.text(max_size=5),
                    st.lists(st.integers(), max_size=2), st.sampled_from([{}, {"a": 1}]))


def spoil(folder: Path, weights: str, change, key: str, value, tensor: int, shape) -> Path:
    """A copy of a folder with one thing changed in it."""
    target = folder.parent / f"{folder.name}-spoilt"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    state = load_file(target / weights)
    name = sorted(state)[tensor % len(state)]
    config = json.loads((target / "config.json").read_text())
    if change == "setting":
        config[key] = value
    elif change == "no setting":
        config.pop(key, None)
    elif change == "no tensor":
        state.pop(name)
    elif change == "shape":
        state[name] = torch.zeros(shape)
    elif change == "nan":
        state[name].view(-1)[0] = math.nan
    elif change == "extra":
        state["extra"] = torch.zeros(2)
    elif change == "type":
        state[name] = state[name].to([torch.int8, torch.float16, torch.float64, torch.bool][tensor % 4])
    save_file(state, target / weights, metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(config))
    if change == "bytes":
        data = bytearray((target / weights).read_bytes())
        data[tensor * 7919 % min(len(data), 400)] ^= 1 << tensor % 8
        (target / weights).write_bytes(data)
    if change == "missing":
        (target / [weights, "config.json"][tensor % 2]).unlink()
    return target


CHANGES = st.sampled_from(["setting", "setting", "no setting", "no tensor", "shape", "nan", "extra", "type", "bytes",
                           "missing"])
SHAPES = st.lists(st.integers(0, 13), max_size=3)


@fuzz(200)
@given(CHANGES, st.sampled_from([*SCALARS_OF_AN_SAE, "other"]), SCALARS, st.integers(0, 50), SHAPES)
def test_sae_folders(whole, change, key, value, tensor, shape):
    folder = spoil(whole / "sae", "sae.safetensors", change, key, value, tensor, shape)
    attempt("SAE folders", lambda: bool(sae.load(folder).encode(torch.ones(2, 12)).isfinite().all()))


KEYS = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "model_type",
        "num_key_value_heads", "tie_word_embeddings", "hidden_act", "max_position_embeddings", "architectures", "dtype",
        "rope_parameters", "rms_norm_eps", "head_dim", "quantization_config", "auto_map"]
SETTINGS = st.one_of(st.integers(-2, 30), st.sampled_from(["gpt2", "llama", "bert", "mamba", "nonsense", ""]), SCALARS)


@fuzz(120)
@given(CHANGES, st.sampled_from(KEYS), SETTINGS, st.integers(0, 50), SHAPES)
def test_model_folders(whole, change, key, value, tensor, shape):
    value = min(value, 64) if isinstance(value, int) and value > 64 else value  # not the size of the machine
    folder = spoil(whole / "model", "model.safetensors", change, key, value, tensor, shape)
    attempt("model folders", lambda: lm.activations(lm.load(folder), torch.ones(1, 4, dtype=torch.long)).ndim == 3)


# Numbers -----------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(st.floats(), st.integers(-2, 3), st.sampled_from([-0.0, 5e-324, 1 - 2**-53, 10**400]))


@fuzz(700)
@given(NUMBERS, st.sampled_from([merging.slerp, merging.lerp]))
def test_t_is_within_bounds_or_refused(t, rule):
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    found = attempt("t", lambda: rule(a, b, t))
    assert (found is not None) == (0 <= t <= 1)
    assert found is None or torch.isfinite(found).all()


TENSORS = st.sampled_from([[math.nan], [math.inf, 1.0], [0.0, 0.0], [1.0, 2.0], [], [1e308, 1e308], [1e-320, 0.0]])


@fuzz(500)
@given(st.dictionaries(st.sampled_from("ab"), TENSORS, max_size=2),
       st.dictionaries(st.sampled_from("ab"), TENSORS, max_size=2),
       st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), st.floats(0, 1))
def test_state_dicts(a, b, dtype, t):
    a, b = ({name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()} for state in (a, b))
    b = {name: value.to(dtype) for name, value in b.items()}
    found = attempt("state dicts", lambda: merging.slerp(a, b, t))
    assert found is None or all(torch.isfinite(value).all() for value in found.values())


@fuzz(600)
@given(st.lists(NUMBERS.filter(lambda value: abs(value) < 1e300), max_size=4), st.integers(0, 4), st.integers(0, 4))
def test_thresholds(taus, n_a, n_b):
    found = matching.match(np.random.default_rng(0).uniform(-1, 1, (n_a, n_b)))
    shares = attempt("thresholds", lambda: matching.persistence(found, taus))
    for value in shares.values() if shares else ():
        assert value.shape == (len(taus),) and (np.isnan(value) | (value >= 0) & (value <= 1)).all()


@fuzz(150)
@given(NUMBERS)
def test_tau_of_a_lineage(tau):
    found = attempt("tau", lambda: read("smoke", **{"comparison.tau": tau}))
    assert (found is not None) == (0 < tau <= 1)
