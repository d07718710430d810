"""The study of doses: what is trained, what the columns mean, dose 0, and the sentences."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from planted_runs import SHARE, Planted, planted_run

from unifeat.lineage import read
from unifeat.studies import dose, shares, variants
from unifeat.studies.across import evidence

LOSSES = {"base": (1.0, 2.0, 5.0, 6.0), "lua": (1.5, 2.9, 5.5, 4.0), "stories": (1.2, 2.2, 3.0, 6.5)}


class Taught(Planted):
    """A planted run whose losses are LOSSES, by english, python, stories, lua, and whose models stay nowhere."""

    def losses(self, *names):
        return pd.concat([pd.DataFrame(dict(model=name, domain=self.lineage.domains, split="validation",
                                            loss_nats=LOSSES[name])) for name in names])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(dose, "moved", lambda run, parent, other, child: dict(weight_distance=0.1, neuron_r=0.9))
    return planted_run(tmp_path, kind=Taught)


def test_a_dose_multiplies_the_rate_and_moves_the_seed_and_nothing_else(run):
    one = dose.dosed(run, 3.0, 2).lineage
    for name, member in run.lineage.models.items():
        how = member.finetune
        want = member if how is None else dataclasses.replace(
            member, finetune=dataclasses.replace(how, lr=3 * how.lr, seed=how.seed + 2))
        assert one.models[name] == want
    assert one.sae.seeds == run.lineage.sae.seeds[:2] and one.sae.tokens == run.lineage.controls.tokens
    assert dose.dosed(run, 1.0).lineage.models == run.lineage.models


def test_replicates_move_every_training_seed_and_the_initial_weights(run):
    one = variants.replicate(run, 2).lineage
    assert one.model.seed == run.lineage.model.seed + 2
    for name, member in run.lineage.models.items():
        if member.training:
            assert one.models[name].training == dataclasses.replace(member.training, seed=member.training.seed + 2)
        else:
            assert one.models[name] == member


def test_every_child_dose_seed_set_and_side_has_a_row_with_the_right_losses(run):
    frame = dose.doses(run)
    s = run.lineage.studies
    assert list(frame) == dose.COLUMNS and len(frame) == 2 * len(s.doses) * len(s.seeds) * 4 * 3
    lua, stories = (frame[frame["child"] == name] for name in ("lua", "stories"))
    assert lua["gain_nats"].unique() == pytest.approx([2.0]) and stories["gain_nats"].unique() == pytest.approx([2.0])
    assert lua["forgetting_nats"].unique() == pytest.approx([(0.5 + 0.9) / 2])
    assert stories["forgetting_nats"].unique() == pytest.approx([0.2])
    whole = frame[frame["features"] == "all"]
    assert whole["observed"].tolist() == pytest.approx([SHARE] * len(whole), abs=0.03)


def test_weight_distance_and_r_of_a_neuron_by_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    want = [np.corrcoef(x[:, j], y[:, j])[0, 1] for j in range(4)]
    assert dose.same_r(x, y) == pytest.approx(want)
    x[:, 1] = 3.0
    assert np.isnan(dose.same_r(x, y)[1])


def test_the_parent_against_itself_is_found_within_the_ceiling_and_compared_across_runs(run):
    frame = dose.zero(run)
    assert list(frame) == dose.ZERO and set(frame["differs"]) == set(dose.DIFFERS)
    whole = frame[frame["features"] == "all"]
    assert whole["observed"].between(whole["ceiling"] - 0.03, whole["ceiling"] + 0.03).all()
    later = dose.dosed(run, 1.0)
    shifted = variants.variant(later, sae=dict(seeds=(7, 9)))
    found = evidence("test", later, "base", shifted, "base")
    assert [(one.a, one.b) for one in found.pairs] == [(("base", 0), ("base", 1)), (("base", 1), ("base", 0))]
    assert [one.table["observed.best.child"].shape for one in found.pairs] == [(len(shares.matching.TAUS),)] * 2
    assert [(one.a[1], one.b[1]) for one in found.twins["child"]] == [(0, 1)]


def rows(**values):
    made = []
    for level, (gain, observed) in values.items():
        made += [dict(child="lua", model_seed=seed, dose=float(level[1:]), gain_nats=gain + seed, side="both",
                      features=features, observed=observed / (1 + (features != "all")), ceiling=0.8, null=0.1)
                 for seed in (0, 1) for features in dose.FEATURES]
    return pd.DataFrame(made)


def test_the_sentence_on_doses_is_of_means_over_seeds():
    text = dose.answer(rows(d1=(1.0, 0.6), d10=(2.0, 0.2)), read("smoke").theme)
    assert text == ("Lua: from 1 to 10 times its rate it gains 1.50 to 2.50 nats, and of its features persist 60% of "
                    "80% to 20% of 80% (beyond token and neuron 30% of 80% to 10% of 80%); at 1 times, 1.50 nats and "
                    "60% of 80% (30% of 80%), with a null of 10%. Means of 2 training seeds, both sides, one to one.")


def test_the_sentence_on_dose_zero_counts_what_lies_within():
    frame = pd.DataFrame([dict(differs=differs, side="both", features="all", observed=seen, ceiling=0.8,
                               ceiling_low=0.75, ceiling_high=0.85)
                          for differs, seen in (("seeds", 0.78), ("seeds", 0.6), ("text", 0.4), ("text", 0.5))])
    text = dose.answer_zero(frame)
    assert "with other seeds 1 of 2 shares lie within" in text and "40% to 50% with SAEs of a child's text" in text
