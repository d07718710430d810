"""What the sweep between two parents says of their merge, by hand."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from unifeat import merging
from unifeat.lineage import published, read
from unifeat.studies import merge_sweep

P = read("smoke")
CSV = published.FOLDER / "horn_elliott_sweep.csv"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper.md"


@pytest.fixture
def run():
    return SimpleNamespace(lineage=P, merges=("merged",), merge_t=lambda name: 0.4)


def sweep(points):
    """Accuracies of slerp over t on the parents' domains: lua falls, stories rises; lerp is .01 below."""
    rows = [(method, t, domain, accuracy - 0.01 * (method == "lerp")) for method in ("slerp", "lerp")
            for t, lua, stories in points for domain, accuracy in (("lua", lua), ("stories", stories))]
    return pd.DataFrame(rows, columns=["method", "t", "domain", "accuracy"])


LINES = sweep([(0.0, 0.5, 0.1), (1.0, 0.2, 0.4)])


def without_published(run):
    """The run of a lineage that names no published sweep."""
    merged = replace(P.models["merged"], published_sweep="")
    return SimpleNamespace(**vars(run) | dict(lineage=replace(P, models=P.models | dict(merged=merged))))


def paper(domain, t, column="accuracy"):
    """A number of the published sweep, as its file says it."""
    with open(CSV, encoding="utf-8") as file:
        value, = (row[column] for row in csv.DictReader(file) if (row["domain"], float(row["t"])) == (domain, t))
    return float(value)


def test_marks_are_this_runs_t_and_the_published_one(run):
    found = merge_sweep.marks(run, "merged", LINES)
    assert (found["picked"], found["published_t"]) == (0.4, 0.58) and merge_sweep.marks(run, "", None) == {}
    assert found["kept"].equals(merge_sweep.curves(run, "merged", LINES))
    assert found["points"].equals(merge_sweep.points(run, "merged", LINES))


def test_curves_are_shares_of_each_parents_accuracy_at_its_own_end(run):
    """Lua falls from .5 to .2 and so keeps 40 % at t = 1; stories rises from .1 to .4 and so keeps 25 % at t = 0."""
    frame = merge_sweep.curves(run, "merged", LINES)
    ours = frame[frame["source"] == "this run"]
    assert ours[["parent", "t", "kept"]].values.tolist() == [["lua", 0, 1], ["lua", 1, 0.4], ["stories", 0, 0.25],
                                                             ["stories", 1, 1]]
    theirs = frame[frame["source"] == "published"].set_index(["parent", "t"])["kept"]
    assert len(theirs) == 42 and theirs["lua", 0.0] == theirs["stories", 1.0] == 1
    assert theirs["lua", 1.0] == pytest.approx(0.176126 / 0.494086)
    assert theirs["stories", 0.35] == pytest.approx(0.35873 / 0.519642)
    assert set(merge_sweep.curves(without_published(run), "merged", LINES)["source"]) == {"this run"}
    assert merge_sweep.curves(run, "", None) is None


def test_the_published_parents_keep_the_same_share_where_the_lines_between_four_rows_cross(run):
    """Between t = .45 and .5: Lua keeps .377001 then .354856 of .494086, stories .39271 then .41081 of .519642."""
    lua, stories = np.array([0.377001, 0.354856]) / 0.494086, np.array([0.39271, 0.41081]) / 0.519642
    assert lua[0] > stories[0] and lua[1] < stories[1]
    share = (lua[0] - stories[0]) / (lua[0] - stories[0] + stories[1] - lua[1])
    t = 0.45 + 0.05 * share
    at = merge_sweep.points(run, "merged", None)
    balanced = at[at["point"] == "balanced"].set_index("parent")
    assert (balanced["source"] == "published").all() and balanced["t"].tolist() == [pytest.approx(t, abs=5e-4)] * 2
    assert balanced["kept"].tolist() == [pytest.approx(lua[0] + share * (lua[1] - lua[0]), abs=1e-3)] * 2
    assert 0.75 < balanced["kept"].min() < balanced["kept"].max() < 0.765
    frame = pd.read_csv(CSV).assign(method="slerp")
    assert balanced["t"].iloc[0] == merging.balanced_t(frame, ["lua"], ["stories"])


def test_both_shares_stand_at_the_t_that_the_paper_states(run):
    """0.58 is three fifths of the way from t = .55 to .6: Lua .332235 to .310306, stories .427132 to .442159."""
    at = merge_sweep.points(run, "merged", None)
    stated = at[at["point"] == "stated"].set_index("parent")["kept"]
    assert stated["lua"] == pytest.approx((0.4 * 0.332235 + 0.6 * 0.310306) / 0.494086)
    assert stated["stories"] == pytest.approx((0.4 * 0.427132 + 0.6 * 0.442159) / 0.519642)
    assert paper("stories", 1.0) > paper("stories", 0.0) and paper("lua", 0.0) > paper("lua", 1.0)  # towards stories
    words = " ".join(PAGE.read_text(encoding="utf-8").split())
    balanced = at[at["point"] == "balanced"]
    assert f"({balanced['kept'].mean():.0%}) at t = {balanced['t'].iloc[0]}".replace("%", " %") in words
    assert f"keeps {stated['stories']:.0%} and Lua {stated['lua']:.0%}".replace("%", " %") in words


def test_shares_that_do_not_cross_have_no_balanced_point(run):
    rising = sweep([(0.0, 0.2, 0.1), (1.0, 0.5, 0.4)])
    at = merge_sweep.points(without_published(run), "merged", rising)
    assert at.empty and list(at.columns) == ["source", "point", "t", "parent", "kept"]
    assert merge_sweep.points(without_published(run), "merged", LINES)["t"].nunique() == 1


def test_what_slerp_gains_on_a_straight_line(run):
    found = merge_sweep.slerp_over_lerp(sweep([(0.0, 0.5, 0.1), (1.0, 0.2, 0.4)]))
    assert found.loc["lua"].round(6).tolist() == [0.01, 0.01] and merge_sweep.slerp_over_lerp(None).empty


def test_a_merge_keeps_a_share_of_each_parents_accuracy_on_its_own_domains(run):
    rows = [("lua", "lua", 0.4), ("stories", "stories", 0.5), ("merged", "lua", 0.2), ("merged", "stories", 0.4),
            ("lua", "stories", 0.9)]
    models = pd.DataFrame(rows, columns=["model", "domain", "accuracy"]).assign(split="validation")
    kept = merge_sweep.kept(run, models)
    assert kept[:2][["parent", "t", "kept"]].values.tolist() == [["lua", 0.4, 0.5], ["stories", 0.4, 0.8]]
    assert kept[["source", "point"]].drop_duplicates().values.tolist() == [
        ["this run", "made"], ["published", "balanced"], ["published", "stated"]]
    assert len(kept) == 6 and kept["t"].iloc[-1] == 0.58 and (kept["merge"] == "merged").all()
    assert len(merge_sweep.kept(without_published(run), models)) == 2
    run.merges = ()
    assert list(merge_sweep.kept(run, models).columns) == merge_sweep.KEPT and merge_sweep.kept(run, models).empty


def test_a_sweep_is_complete_and_its_ends_are_the_parents(run):
    whole = sweep([(i / 4, 0.5 - 0.1 * i, 0.1 + 0.1 * i) for i in range(P.merge.points)])
    assert merge_sweep.complete(run, "merged", whole) and merge_sweep.ends_are_parents(run, "merged", whole)
    assert not merge_sweep.complete(run, "merged", whole[whole["t"] > 0])
    turned = whole.assign(t=1 - whole["t"])
    assert not merge_sweep.ends_are_parents(run, "merged", turned)
    assert merge_sweep.complete(run, "", None) and merge_sweep.ends_are_parents(run, "", None)
