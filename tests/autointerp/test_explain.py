"""The language model as explainer: features in, scores out."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from endpoint import completion
from scipy import sparse

from unifeat import lineage
from unifeat.autointerp import client, explain, groups
from unifeat.matching import token_features
from unifeat.text import bpe


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """A run of 16 documents of 32 tokens, ids 1-9; feature 0 fires on token 7, feature 1 on token 3, more strongly."""
    blocks = np.random.default_rng(0).integers(4, 10, (16, 32))
    blocks[::4, 10], blocks[1::4, 4] = 3, 3
    blocks[2:4], blocks[10:12] = 5, 5  # documents where neither fires
    block, position = np.nonzero(blocks)
    probe = dict(blocks=blocks, block=block, position=position, document=block, domain=np.zeros(len(block), int))
    token = blocks[block, position]
    f = sparse.csr_matrix(np.stack([1.0 * (token == 7), 4.0 * (token == 3)], axis=1))
    monkeypatch.setattr(bpe, "token_text", lambda tokenizer, i: f"t{i}")
    monkeypatch.setattr(groups, "members", lambda run, count=0: {
        group: ("tuned", np.array([0, 1])) for group in ("all", "emerged")})
    monkeypatch.setattr(groups, "activations", lambda run, name: f)
    tuned = dataclasses.replace(lineage.read("smoke").models["base"], label="")
    p = dataclasses.replace(lineage.read("smoke"), models={"tuned": tuned}, compare=())
    return SimpleNamespace(comparison_text=probe, root=tmp_path, corpus=SimpleNamespace(tokenizer=None), lineage=p,
                           theme=p.theme)


def oracle(_, body):
    """A model that explains by the token with a 9 and simulates by looking for it."""
    system, user = (message["content"] for message in body["messages"])
    if "Excerpt" in user:
        return completion(next(line for line in user.split("\n") if line.endswith("\t9")).split("\t")[0])
    wanted = system.split("responds to: ")[1].split("\n")[0]
    if "numbered excerpts" in system:
        return completion(str([int(wanted in line) for line in user.split("\n")]))
    return completion("\n".join(f"{number}: {9 if text == wanted else 0}" for number, text in
                                (line.split(": ") for line in user.split("\n"))))


def test_a_perfect_explainer_scores_one_and_shuffled_nothing(serve, small_run, capsys):
    server, config, _ = serve(oracle)
    frames = {"tuned": pd.DataFrame(dict(feature=[0, 1], explainer="lexical"))}
    found = explain.asked(small_run, frames, config)["tuned"]
    assert found["explanation"].tolist() == ["t7", "t3"] and set(found["explainer"]) == {"tiny"}
    assert np.allclose(found["simulation"], 1) and np.allclose(found["detection"], 1)
    assert (found["simulation_shuffled"] < 0.3).all() and (found["detection_shuffled"] < 0.9).all()
    first, asked = capsys.readouterr().out, len(server.requests)
    assert first.count("requests") == 1  # one estimate, before anything is sent, and not too low
    assert int(first.split("tiny: ")[1].split(" requests")[0].replace(",", "")) >= asked
    again = explain.asked(small_run, frames, config)["tuned"]
    assert again.equals(found) and len(server.requests) == asked
    assert "tiny: 0 requests" in capsys.readouterr().out


def test_refusals_leave_a_feature_without_a_score(serve, small_run):
    _, config, _ = serve(lambda *_: completion(None, refusal="I cannot"))
    found = explain.asked(small_run, {"tuned": pd.DataFrame(dict(feature=[0, 1]))}, config)["tuned"]
    assert found["simulation"].isna().all() and (found["explanation"] == "").all()


@pytest.mark.parametrize("answer, detected", [
    ("[{}]", True), ("Here you are: [{}].", True), ("[{}, 1]", False), ("{}", False), ("[{}] or [{}]", False),
    ("[{}", False), ("[{}, 2]", False), (None, False)])
def test_a_detection_that_cannot_be_read_leaves_no_score(serve, small_run, answer, detected):
    def script(number, body):
        said = oracle(number, body)
        if "numbered excerpts" not in body["messages"][0]["content"]:
            return said
        if answer is None:
            return completion(None, refusal="I would rather not")
        return completion(answer.replace("{}", said["choices"][0]["message"]["content"].strip("[]")))

    _, config, _ = serve(script)
    found = explain.asked(small_run, {"tuned": pd.DataFrame(dict(feature=[0, 1]))}, config)["tuned"]
    assert np.allclose(found["simulation"], 1)  # the other score does not suffer
    assert np.allclose(found["detection"], 1) if detected else found["detection"].isna().all()


def test_excerpts_of_a_detection_are_mixed_and_held_out(serve, small_run):
    server, config, _ = serve(oracle)
    explain.asked(small_run, {"tuned": pd.DataFrame(dict(feature=[1]))}, config)
    asked = [body["messages"][1]["content"].split("\n") for body, _ in server.requests
             if "numbered excerpts" in body["messages"][0]["content"]]
    probe = small_run.comparison_text
    held = ~token_features.halves(probe["document"], probe["domain"])
    texts = {"".join(f"t{i}" for i in row) for row in probe["blocks"][np.unique(probe["block"][held])]}
    lines = [line.split(": ") for one in asked for line in one]
    assert {text for _, text in lines} == texts and all(len(one) <= 5 for one in asked)
    truth = ["t3" in text for _, text in lines]
    assert truth != sorted(truth, reverse=True) and [number for number, _ in lines][:2] == ["1", "2"]


def test_an_unknown_explainer_is_named(monkeypatch):
    monkeypatch.setenv("EXPLAINER", "gpt")
    with pytest.raises(client.LlmError, match="There is no explainer 'gpt'; EXPLAINER is lexical or llm"):
        explain.explained(None)
    monkeypatch.setenv("UNIFEAT_LLM_FEATURES", "many")
    with pytest.raises(client.LlmError, match="UNIFEAT_LLM_FEATURES=many"):
        groups.sample()
