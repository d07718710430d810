"""Shares, ceilings and nulls on a run whose features are planted."""

import numpy as np
import pytest
from planted_runs import OWN, SHARE, SHARED, children, planted_run

from unifeat.matching import TAUS
from unifeat.matching.comparison import Comparison
from unifeat.studies import baselines, persistence, shares
from unifeat.studies.shares import FEATURES


@pytest.fixture
def untrained(monkeypatch):
    """The untrained model's SAE is replaced by one that shares as much as an edge does."""
    monkeypatch.setattr(baselines, "random", lambda run, child: run.compare((run.lineage.names[0], 1 - child[1]),
                                                                            (run.lineage.names[-1], child[1])).table)


def test_planted_shares_are_recovered_on_every_edge_rule_and_arm(planted, untrained):
    frame = persistence.persistence(planted)
    assert list(frame.columns) == persistence.COLUMNS
    at = frame[frame["tau"] == 0.8]
    rows = len(planted.lineage.pairs) * 3
    assert len(at) == rows * (len(persistence.ARMS) * 3 + len(FEATURES) - 1)
    controlled = at[(at["arm"] == "controlled") & (at["features"] != "found_again")]
    np.testing.assert_allclose(controlled["observed"], SHARE)
    np.testing.assert_allclose(controlled["ceiling"], SHARE)
    np.testing.assert_allclose(controlled["excess"], 1)
    np.testing.assert_allclose(controlled["null_untrained"], SHARE)
    again = at[at["features"] == "found_again"]
    assert (again["observed"] == 1).all() and again[["ceiling", "excess"]].isna().all(axis=None)
    assert (at["null"] == 0).all() and (at["n_parent"] == SHARED + OWN).all()
    assert (frame["ci_low"] <= frame["ci_high"]).all()
    assert not frame[["observed", "ci_low", "ci_high", "null"]].isna().any(axis=None)


def test_every_pair_of_a_chain_is_measured_and_a_lineage_without_edges_gives_an_empty_table(tmp_path, untrained):
    run = planted_run(tmp_path, 'compare = [["a", "c"]]\n' + children({"b": "a", "c": "b"}))
    frame = persistence.persistence(run)
    pairs = list(dict.fromkeys(zip(frame["parent"], frame["child"], strict=True)))
    assert pairs == [("a", "b"), ("b", "c"), ("a", "c")]
    alone = persistence.persistence(planted_run(tmp_path, children({})))
    assert alone.empty and list(alone.columns) == persistence.COLUMNS


def test_comparisons_are_computed_once_and_seeds_pair_as_the_arms_say(planted, untrained):
    assert persistence.seed_pairs(planted, "controlled") == [(0, 1), (1, 0)]
    assert persistence.seed_pairs(planted, "as_published") == [(0, 0), (1, 1)]
    persistence.persistence(planted)
    stamps = {path: path.stat().st_mtime_ns for path in planted.root.glob("*/manifest.json")}
    persistence.persistence(planted)
    assert stamps == {path: path.stat().st_mtime_ns for path in planted.root.glob("*/manifest.json")}


def of(seeds, share, null=0.1, more=0.0):
    """A comparison of SAEs with these seeds: `share` of both sides persists, its resamples lie 0.1 around it."""
    table = {}
    for side in ("parent", "child"):
        key = f"one_to_one.{side}"
        value = np.full(len(TAUS), share + more * (side == "parent"))
        table |= {f"observed.{key}": value, f"null.{key}": np.full(len(TAUS), null),
                  f"resampled.{key}": value + np.linspace(-0.1, 0.1, 41)[:, None]}
    return Comparison(("a", seeds[0]), ("b", seeds[1]), np.arange(4), np.arange(4), table)


def test_a_share_with_its_interval_ceiling_and_excess_by_hand():
    """Two seeds: .5 is the mean of .6 and .4; 95 % of the resamples lie within .095; excess (.5 - .1) / (.7 - .1)."""
    evidence = shares.Evidence([of((0, 1), 0.6), of((1, 0), 0.4)], dict(child=[of((0, 1), 0.7)]))
    found = shares.at(shares.measured(evidence, "one_to_one"), 0.8)
    want = dict(observed=0.5, ci_low=0.405, ci_high=0.595, ceiling=0.7, ceiling_low=0.605, ceiling_high=0.795, null=0.1,
                excess=2 / 3)
    assert {name: found[name] for name in want} == pytest.approx(want)
    assert found["excess_low"] < 2 / 3 < found["excess_high"]  # edge and twins move together, so a little only
    assert found["excess_high"] - found["excess_low"] < 0.15


def test_three_seeds_widen_the_interval_by_what_leaving_one_out_changes():
    """Without seed 0, 1, 2 the mean is .4, .5, .6: a jackknife error of sqrt(2/3 x .02), times t = 4.303."""
    pairs = [of(seeds, {3: 0.4, 2: 0.5, 1: 0.6}[sum(seeds)]) for seeds in ((1, 2), (2, 1), (0, 2), (2, 0), (0, 1),
                                                                         (1, 0))]
    found = shares.at(shares.observed(shares.Evidence(pairs), "one_to_one"), 0.8)
    error = 4.302653 * np.sqrt(2 / 3 * 0.02)
    assert found["observed"] == pytest.approx(0.5)
    assert found["ci_low"] == pytest.approx(max(0, 0.5 - np.hypot(0.095, error)))
    assert found["ci_high"] == pytest.approx(min(1, 0.5 + np.hypot(0.095, error)))


def test_the_geometric_mean_of_both_sides_and_of_their_ceilings():
    evidence = shares.Evidence([of((0, 1), 0.4, more=0.5)], dict(parent=[of((0, 1), 0.8)], child=[of((0, 1), 0.2)]))
    found = shares.at(shares.measured(evidence, "one_to_one", "both"), 0.8)
    assert found["observed"] == pytest.approx(0.6) and found["ceiling"] == pytest.approx(0.4)
    assert np.isnan(shares.at(shares.measured(evidence, "one_to_one", "child", "beyond_both"), 0.8)["observed"])


def test_as_many_comparisons_at_once_as_there_are_cores_and_fit_the_memory(monkeypatch):
    monkeypatch.setattr(persistence.torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(persistence.resources, "memory", lambda: 16 * 2**30)
    assert persistence.workers(2048) == 6 and persistence.workers(8192) == 5  # of 2.7 GB each in nine tenths of 17.2 GB
    assert persistence.workers(16_384) == persistence.workers(65_536) == 1
