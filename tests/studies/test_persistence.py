"""Shares, ceilings and nulls on a run whose features are planted."""

import numpy as np
from planted_runs import OWN, SHARE, SHARED, children, planted_run

from unifeat.studies import persistence


def test_planted_shares_are_recovered_on_every_edge_rule_and_arm(planted):
    frame = persistence.persistence(planted)
    assert list(frame.columns) == persistence.COLUMNS
    at = frame[frame["tau"] == 0.8]
    assert len(at) == len(persistence.ARMS) * len(planted.lineage.pairs) * 2 * 3
    controlled = at[at["arm"] == "controlled"]
    np.testing.assert_allclose(controlled["observed"], SHARE)
    np.testing.assert_allclose(controlled["ceiling"], SHARE)
    np.testing.assert_allclose(controlled["excess"], 1)
    assert (at["null"] == 0).all() and (at["n_parent"] == SHARED + OWN).all()
    assert (frame["ci_low"] <= frame["ci_high"]).all() and not frame.drop(columns="excess").isna().any(axis=None)


def test_every_pair_of_a_chain_is_measured_and_a_lineage_without_edges_gives_an_empty_table(tmp_path):
    run = planted_run(tmp_path, 'compare = [["a", "c"]]\n' + children({"b": "a", "c": "b"}))
    frame = persistence.persistence(run)
    pairs = list(dict.fromkeys(zip(frame["parent"], frame["child"], strict=True)))
    assert pairs == [("a", "b"), ("b", "c"), ("a", "c")]
    alone = persistence.persistence(planted_run(tmp_path, children({})))
    assert alone.empty and list(alone.columns) == persistence.COLUMNS


def test_comparisons_are_computed_once_and_seeds_pair_as_the_arms_say(planted):
    assert persistence.seed_pairs(planted, "controlled") == [(0, 1), (1, 0)]
    assert persistence.seed_pairs(planted, "as_published") == [(0, 0), (1, 1)]
    persistence.persistence(planted)
    stamps = {path: path.stat().st_mtime_ns for path in planted.root.glob("*/manifest.json")}
    persistence.persistence(planted)
    assert stamps == {path: path.stat().st_mtime_ns for path in planted.root.glob("*/manifest.json")}


def test_shares_with_intervals_of_tables_by_hand():
    """Two pairs of SAEs that share 3/4 and 1/4 at tau 0.8; resamples of the first alone give the interval."""
    at, key = persistence.number(0.8), "one_to_one.child"
    size, drawn = at + 1, np.array([[-0.25], [0.25]])
    tables = [{f"observed.{key}": np.full(size, share), f"resampled.{key}": np.tile(drawn + share, size),
               f"null.{key}": np.full(size, 0.1)} for share in (0.75, 0.25)]
    found = persistence.share(tables, "one_to_one", 0.8)
    assert found["observed"] == 0.5 and 0.25 <= found["ci_low"] < 0.5 < found["ci_high"] <= 0.75
    assert persistence.share(tables, "one_to_one", 0.8, "null")["observed"] == 0.1


def test_as_many_comparisons_at_once_as_there_are_cores_and_fit_the_memory(monkeypatch):
    monkeypatch.setattr(persistence.torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(persistence.resources, "memory", lambda: 16 * 2**30)
    assert persistence.workers(2048) == 6 and persistence.workers(8192) == 5  # of 2.7 GB each in nine tenths of 17.2 GB
    assert persistence.workers(16_384) == persistence.workers(65_536) == 1
