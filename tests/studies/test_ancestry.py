"""Ancestry against text, other changes of the parent, and language-model seeds."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from planted_runs import OWN, SHARED, Planted, children, planted, planted_run
from scipy import stats

from unifeat.studies import ancestry, dose, replicates, shares, variants


class Related(Planted):
    """SAEs of the common text share SHARED features, those of one model's own text 20, and a model from scratch 10."""

    def features(self, name, seed):
        kept = 10 if name == ancestry.SCRATCH else SHARED if self.lineage.sae.text == "common" else 20
        return planted(f"{name}{self.lineage.sae.text}", seed, kept)

    def losses(self, *names):
        return pd.concat([pd.DataFrame(dict(model=name, domain=self.lineage.domains, split="validation",
                                            loss_nats=np.arange(4.0) + 0.5 * (name != "base"))) for name in names])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return planted_run(tmp_path_factory.mktemp("related"), kind=Related)


def test_the_model_from_scratch_is_trained_as_the_root_on_the_childs_text_from_other_seeds(run):
    one = ancestry.scratch(run, "base", "lua").lineage
    root, child = run.lineage.models["base"].train, run.lineage.models["lua"].finetune
    want = dataclasses.replace(root, text=child.text, weights=child.weights, seed=root.seed + 1)
    assert one.models["scratch"].train == want and one.model.seed == run.lineage.model.seed + 1
    assert not one.models["scratch"].parent


def test_the_nulls_come_from_the_root_and_move_as_the_child_did(run):
    members = ancestry.with_nulls(run, "base", "lua").lineage.models
    root, child = run.lineage.models["base"].train, run.lineage.models["lua"].finetune
    assert members["trained_on"].finetune == dataclasses.replace(child, text=root.text, weights=root.weights)
    assert [members[name].parent for name in ancestry.NULLS] == ["base", "base", "base", ""]
    assert members["random_update"].perturbed.like == "lua" and members["quantized"].quantized == ancestry.BITS
    assert members["untrained"].untrained.seed != run.lineage.model.seed


def test_ancestry_and_text_are_told_apart_under_ceilings_of_what_was_read(run):
    frame = ancestry.ancestry(run)
    assert list(frame) == ancestry.COLUMNS and len(frame) == 2 * 2 * len(dose.FEATURES) * len(shares.SIDES)
    rows = frame[(frame["features"] == "all") & (frame["side"] == "both")].set_index(["ancestry", "sae_text"])
    whole = SHARED / (SHARED + OWN)
    assert rows.loc[("child", "common"), "observed"] == pytest.approx(whole, abs=0.02)
    assert rows.loc[("child", "common"), "ceiling"] == pytest.approx(whole, abs=0.02)
    of_own, alone = 20 / (20 + OWN), 10 / (10 + OWN)
    assert rows.loc[("child", "own"), ["observed", "ceiling"]].tolist() == pytest.approx([of_own] * 2, abs=0.02)
    from_scratch = rows.loc[("none", "common"), ["observed", "ceiling"]].tolist()
    assert from_scratch == pytest.approx([np.sqrt(10 / (SHARED + OWN) * alone), np.sqrt(whole * alone)], abs=0.02)


def test_a_one_sided_comparison_counts_one_sides_features_on_both(run):
    found = run.compare(("base", 0), ("lua", 1))
    for side, other in (("parent", "child"), ("child", "parent")):
        one = ancestry.one_sided(found, side).table
        for label in ("observed", "resampled", "null"):
            key = f"{label}.one_to_one"
            assert (one[f"{key}.{other}"] == found.table[f"{key}.{side}"]).all()
            assert (one[f"{key}.{side}"] == found.table[f"{key}.{side}"]).all()


def test_every_change_of_the_parent_has_its_rises_and_shares(run, monkeypatch):
    monkeypatch.setattr(dose, "moved", lambda *_: dict(weight_distance=0.1, neuron_r=0.9))
    frame = ancestry.changes(run)
    assert list(frame) == ancestry.CHANGES
    assert list(dict.fromkeys(frame["change"])) == ["fine-tuned", *ancestry.NULLS, "scratch"]
    assert frame["rise_parent_text"].eq(0.5).all() and frame["rise_child_text"].eq(0.5).all()
    said = ancestry.answer_changes(frame)
    assert "fine-tuned 75% of 75%" in said and "trained on 75% of 75%" in said and "scratch 35% of 61%" in said


def test_without_a_trained_root_and_its_child_there_is_a_sentence(tmp_path):
    lone = planted_run(tmp_path, children({}))
    frame = ancestry.ancestry(lone)
    assert frame.empty and ancestry.answer(frame).endswith("ancestry cannot be told from text.")
    ancestry.prepare(lone)


def test_every_edge_has_a_row_per_language_model_and_an_interval_over_them(run):
    frame = replicates.replicates(run)
    count = run.lineage.studies.replicates
    assert list(frame) == replicates.COLUMNS
    assert len(frame) == (count + 1) * len(run.lineage.edges) * len(dose.FEATURES) * len(shares.SIDES)
    every, alone = frame[frame["model_seed"] == "all"], frame[frame["model_seed"] != "all"]
    row = every[(every["child"] == "lua") & (every["features"] == "all") & (every["side"] == "child")].iloc[0]
    values = alone.merge(row.to_frame().T[["parent", "child", "features", "side"]])["observed"]
    assert len(values) == count and row["observed"] == pytest.approx(values.mean())
    assert f"Over {count} seeds of the language models" in replicates.answer(frame)


def test_the_interval_over_seeds_is_students():
    values = np.array([0.6, 0.7, 0.75])
    low, mean, high = replicates.t_interval(values)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, loc=mean, scale=stats.sem(values)))
    assert np.isnan(replicates.t_interval(values[:1])[0])


def test_pairs_are_of_two_seeds_and_the_controls_length(run):
    one = variants.pair(run, text="lua").lineage.sae
    assert (one.seeds, one.tokens, one.text) == (run.lineage.sae.seeds[:2], run.lineage.controls.tokens, "lua")
