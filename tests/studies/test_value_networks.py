"""The study of value networks: its measurements against lm.evaluate, its answer by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from unifeat import lm
from unifeat.lm import value_network
from unifeat.studies import checkpoints, value_answers, value_networks


def test_every_way_of_measuring_is_the_losses_of_the_models(along):
    root, tuned = along.model("base"), along.model("lua")
    value = value_network.start(root)
    ways = value_networks.ways_of(root, tuned, {"residual": value}, (root, tuned), {"lora": tuned})
    blocks, _ = checkpoints.documents(along, "lua")
    size = len(blocks) * (blocks.shape[1] - 1)
    found = {name: value_networks.summed(way, blocks).sum() / size for name, way in ways.items()}
    for name, model in (("alone", root), ("residual", root), ("tuned", tuned), ("proxy", tuned), ("lora", tuned)):
        assert found[name] == pytest.approx(lm.evaluate(model, blocks)["loss_nats"], rel=1e-4), name
    head = value.network.get_output_embeddings()
    head.weight.data = torch.randn(head.weight.shape)
    both = value_network.evaluate(root, value, blocks)["loss_nats"]
    assert value_networks.summed(ways["residual"], blocks).sum() / size == pytest.approx(both, rel=1e-4)


def test_targets_are_models_that_the_value_network_never_saw(along):
    found = value_networks.targets(along)
    assert list(found) == ["the root itself", "an earlier state", "another child", "the merge", "half the width",
                           "another seed", "a later state", "another vocabulary"]
    later, vocabulary = value_networks.LATER, value_networks.VOCABULARY
    assert value_networks.beside(along, later) == "base-8" and value_networks.arms(later) == value_networks.SOME
    assert len(found[vocabulary][0].corpus.tokenizer) == value_networks.FEWEST < len(along.corpus.tokenizer)
    assert found["an earlier state"][1] == "base-8" and value_networks.task(along) == "lua"
    assert found["another child"][1] == "stories" and found["the merge"][1] == "merged"


def frame(**recovered):
    rows = []
    for target, share in (("the root itself", 0.8), ("an earlier state", 0.6), ("another seed", 0.55)):
        for seed in range(3):
            for method in [*value_networks.ARMS, value_networks.PROXY]:
                r = recovered.get(method, share - 0.05 * (target != "the root itself")) + 0.01 * seed
                rows += [dict(model_seed=seed, target=target, method=method, domain=domain, task=domain == "x",
                              alone_nats=4.0, with_nats=4 - 2 * r if domain == "x" else 4.3, tuned_nats=2.0,
                              recovered=r if domain == "x" else np.nan) for domain in "xy"]
    return pd.DataFrame(rows)


def test_means_over_seeds_by_hand():
    found = value_answers.over_seeds(frame()).set_index(["target", "method"])
    row = found.loc[("the root itself", "residual")]
    assert row["recovered"] == pytest.approx(0.81) and row["rise_elsewhere"] == pytest.approx(0.3)
    assert row["high"] - row["low"] == pytest.approx(2 * 4.303 * 0.01 / np.sqrt(3), rel=1e-3)


def test_the_answer_says_which_goal_is_met():
    said = value_answers.answer(frame(residual_1=0.7, proxy=0.9))
    assert "the root itself 0.81, an earlier state 0.56, another seed 0.51" in said and "states is met" in said
    assert "proxy tuning 0.91" in said and "With a norm of 1 it is 0.71, 0.00 below" in said
    assert "(0.28 without)" in said and "at most .02, is met" in said
    worse = {arm: 0.3 for arm in value_networks.ARMS if arm.startswith("residual_")}
    assert "at most .02, is missed" in value_answers.answer(frame(**worse))
    assert "states is missed" in value_answers.answer(frame(residual=0.4))
    assert value_answers.answer(frame()[:0]) == ""


def test_recovered_is_a_share_of_the_gain():
    assert value_networks.recovered(4.0, 3.5, 2.0) == 0.25 and value_networks.recovered(4.0, 4.5, 2.0) == -0.25
