"""What the sweep between two parents says of their merge, by hand."""

from types import SimpleNamespace

import pandas as pd
import pytest

from unifeat.lineage import read
from unifeat.studies import merge_sweep

P = read("smoke")


@pytest.fixture
def run():
    return SimpleNamespace(lineage=P, merges=("merged",), merge_t=lambda name: 0.4)


def sweep(points):
    """Accuracies of slerp over t on the parents' domains: lua falls, stories rises; lerp is .01 below."""
    rows = [(method, t, domain, accuracy - 0.01 * (method == "lerp")) for method in ("slerp", "lerp")
            for t, lua, stories in points for domain, accuracy in (("lua", lua), ("stories", stories))]
    return pd.DataFrame(rows, columns=["method", "t", "domain", "accuracy"])


def test_marks_are_this_runs_t_and_the_published_one(run):
    assert merge_sweep.marks(run, "merged") == dict(picked=0.4, published_t=0.58) and merge_sweep.marks(run, "") == {}


def test_what_slerp_gains_on_a_straight_line(run):
    found = merge_sweep.slerp_over_lerp(sweep([(0.0, 0.5, 0.1), (1.0, 0.2, 0.4)]))
    assert found.loc["lua"].round(6).tolist() == [0.01, 0.01] and merge_sweep.slerp_over_lerp(None).empty


def test_a_merge_keeps_a_share_of_each_parents_accuracy_on_its_own_domains(run):
    rows = [("lua", "lua", 0.4), ("stories", "stories", 0.5), ("merged", "lua", 0.2), ("merged", "stories", 0.4),
            ("lua", "stories", 0.9)]
    models = pd.DataFrame(rows, columns=["model", "domain", "accuracy"]).assign(split="validation")
    kept = merge_sweep.kept(run, models)
    assert kept[["parent", "t", "kept"]].values.tolist() == [["lua", 0.4, 0.5], ["stories", 0.4, 0.8]]
    run.merges = ()
    assert list(merge_sweep.kept(run, models).columns) == ["merge", "parent", "t", "kept"]


def test_a_sweep_is_complete_and_its_ends_are_the_parents(run):
    whole = sweep([(i / 4, 0.5 - 0.1 * i, 0.1 + 0.1 * i) for i in range(P.merge.points)])
    assert merge_sweep.complete(run, "merged", whole) and merge_sweep.ends_are_parents(run, "merged", whole)
    assert not merge_sweep.complete(run, "merged", whole[whole["t"] > 0])
    turned = whole.assign(t=1 - whole["t"])
    assert not merge_sweep.ends_are_parents(run, "merged", turned)
    assert merge_sweep.complete(run, "", None) and merge_sweep.ends_are_parents(run, "", None)
