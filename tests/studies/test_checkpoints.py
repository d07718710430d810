"""Fine-tuning of every checkpoint: the protocol's laws on a tiny run, the findings by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from unifeat import lm
from unifeat.lineage.settings import LineageError
from unifeat.studies import checkpoint_answers, checkpoints, variants


def test_the_last_checkpoint_is_the_model_itself(along):
    assert checkpoints.root(along) == "base" and checkpoints.name(along, 50) == "base-50"
    a, b = (along.model(name).state_dict() for name in ("base", "base-50"))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_no_step_of_tuning_changes_nothing(along):
    none = variants.variant(along, studies=dict(tune_tokens=0))
    before = checkpoints.measured(along, along.model("base-8"))
    after = checkpoints.measured(along, checkpoints.tune(none, 8, "lua", "tuned"))
    assert all((before[key] == after[key]).all() for key in before)


def test_every_checkpoint_is_tuned_on_the_same_blocks_in_the_same_order(along, monkeypatch):
    seen = []

    def watched(model, blocks, config, *_, **__):
        (domain, rows), = blocks.items()
        seen.append((domain, rows.copy(), dataclasses.replace(config)))

    monkeypatch.setattr(checkpoints.training, "train", watched)
    for step in (0, 8, 50):
        checkpoints.tune(along, step, "lua", "tuned")
    checkpoints.tune(along, 8, "lua", "order")
    checkpoints.tune(along, 8, "lua", "small")
    assert all((rows == seen[0][1]).all() and domain == "lua" for domain, rows, _ in seen)
    assert seen[0][2] == seen[1][2] == seen[2][2] and seen[3][2].seed == seen[0][2].seed + 1
    assert seen[4][2].lr == pytest.approx(seen[0][2].lr / 4)
    assert seen[0][1].shape[1] <= along.corpus.context


def test_without_a_header_it_is_plain_evaluation(along):
    model, length = along.model("base-50"), checkpoints.room(along)
    blocks, _ = checkpoints.documents(along, "lua")
    loss, right = checkpoints.told(model, checkpoints.under(np.array([], int), blocks, length), length)
    plain, tokens = lm.evaluate(model, blocks[:, :length]), len(blocks) * (length - 1)
    assert loss.sum() / tokens == pytest.approx(plain["loss_nats"], rel=1e-5)
    assert right.sum() / tokens == pytest.approx(plain["accuracy"])


def test_a_header_changes_the_loss_and_not_the_target(along):
    length, found = checkpoints.room(along), checkpoints.headers(along)
    blocks, _ = checkpoints.documents(along, "english")
    assert found["none"].size == 0 and length == along.corpus.context - max(map(len, found.values()))
    for header in found.values():
        assert (checkpoints.under(header, blocks, length)[:, len(header):] == blocks[:, :length]).all()
    told = checkpoints.measured(along, along.model("base-50"))["loss-english"].sum(1)
    assert len(set(told.round(6))) == 3


@pytest.mark.parametrize("steps, words", [([0], "name two steps or more"), ([0, 51], "none beyond the 50 of base")])
def test_steps_that_cannot_be_are_one_sentence(along, steps, words):
    with pytest.raises(LineageError, match=words) as caught:
        checkpoints.steps(variants.variant(along, studies=dict(checkpoints=tuple(steps))))
    assert "\n" not in str(caught.value)


def test_a_lineage_without_trained_root_or_fine_tuned_child_has_empty_tables(along):
    given = variants.with_models(along, base=dataclasses.replace(along.lineage.models["base"], train=None, given="x"))
    assert not checkpoints.possible(given) and checkpoints.possible(along)


def frame(tuned=(4.0, 3.0, 2.5, 2.4), base=(5.0, 4.6, 4.5, 4.5), spread=(0.1, 0.3, 0.2, 0.1), seen_gain=0.2):
    """checkpoints.csv of a new task x and a seen one y, steps 0, 1, 10 and 100."""
    rows = []
    for step, now, was, wide in zip((0, 1, 10, 100), tuned, base, spread, strict=True):
        for task, domain, form in ((t, d, f) for t in "xy" for d in "xy" for f in checkpoints.FORMATS):
            before = was if task == domain else 3.0
            gain = (was - now if task == "x" else seen_gain) if task == domain else -0.1
            after = before - gain + (wide if form == "none" and task == domain else 0)
            rows.append(dict(model_seed=0, arm="tuned", step=step, task=task, seen=task == "y", domain=domain,
                             format=form, base_nats=before, tuned_nats=after, gain_nats=before - after,
                             gain_low=before - after - 0.05, gain_high=before - after + 0.05, base_accuracy=0.4,
                             tuned_accuracy=0.4 if task == domain else 0.3))
    return pd.DataFrame(rows)


def test_the_four_findings_by_hand():
    found = checkpoint_answers.findings(frame()).set_index("finding")
    assert found["holds"].all()
    assert found.loc["latent_benefit", ["value", "beside"]].tolist() == pytest.approx([-1, 0])
    assert found.loc["unseen_gain", ["value", "beside"]].tolist() == pytest.approx([2.1, 0.2])
    assert found.loc["forgetting", ["value", "beside"]].tolist() == pytest.approx([0.1, -0.25])
    assert found.loc["format", ["value", "beside"]].tolist() == pytest.approx([0.1, 0.3])
    said = checkpoint_answers.answer(found.reset_index())
    assert said.count("holds in 1 of 1") == 4 and "rho -1.00" in said and "2.10 nats" in said and "-25%" in said


@pytest.mark.parametrize("change, finding", [
    (dict(base=(5.0, 4.6, 4.2, 3.6)), "latent_benefit"), (dict(tuned=(4.0, 3.0, 3.5, 3.9)), "latent_benefit"),
    (dict(seen_gain=1.0), "unseen_gain"), (dict(spread=(0.1, 0.1, 0.1, 0.3)), "format")])
def test_a_finding_that_does_not_hold_is_said(change, finding):
    found = checkpoint_answers.findings(frame(**change)).set_index("finding")
    assert not found["holds"][finding]


def test_forgetting_counts_where_its_interval_lies_above_zero():
    rows = frame().assign(gain_high=1.0)
    assert not checkpoint_answers.findings(rows).set_index("finding")["holds"]["forgetting"]


def test_the_interval_is_that_of_documents_not_of_blocks():
    rng = np.random.default_rng(0)
    document = np.repeat(np.arange(20), 10)
    values = rng.normal(0, 1, 20)[document] + rng.normal(0, 0.1, 200)
    low, high = checkpoints.over_documents(values, document, 1)
    assert high - low == pytest.approx(2 * 1.96 * np.std(values.reshape(20, 10).mean(1)) / np.sqrt(20), rel=0.2)


def test_the_papers_numbers_are_labelled():
    told = checkpoint_answers.published()
    assert told[told["what"] == "learned in fine-tuning"]["change"].iloc[-1] == 0.29 and len(told) == 20
