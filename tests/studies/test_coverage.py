"""Intervals and sides of shares on planted lineages, by the code of benchmarks/check_coverage.py."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import check_coverage
from benchmarks.check_coverage import CASES, SHARE, World
from unifeat.studies import shares

ROOT = Path(__file__).parents[2]


def expected(world: World) -> dict[str, float]:
    """Shares that follow from the chances alone: `found` of n, of which `both` are common, among junk."""
    (a, _), (b, _) = world.found
    (a_own, _), (b_own, _) = world.own_found or world.found
    chances = ((a, a_own), (b, b_own))
    live = [world.both * x + world.own * y + junk for (x, y), junk in zip(chances, world.junk, strict=True)]
    again = [world.both * x * x + world.own * y * y for x, y in chances]
    parent, child = (world.both * a * b / one for one in live)
    most = [again[side] / live[side] for side in (0, 1)]
    return {"child": child, "parent": parent, "both": np.sqrt(parent * child), "child of its ceiling": child / most[1],
            "parent of its ceiling": parent / most[0],
            "both of its ceiling": np.sqrt(parent * child / (most[0] * most[1]))}


@pytest.mark.parametrize("case", CASES)
def test_planted_misses_and_junk_give_the_shares_that_follow_from_the_chances(case):
    found = check_coverage.sides(CASES[case], 6)
    for name, value in expected(CASES[case]).items():
        assert found[name] == pytest.approx(value, abs=0.06), name


@pytest.mark.parametrize("case", [name for name in CASES if "alone" not in name])
def test_the_excess_of_both_sides_is_the_true_share_where_misses_and_junk_are_random(case):
    """With chances a and b, junk j and k: sqrt(s a b n / (a n + j) . s a b n / (b n + k)) over sqrt(a a n / (a n + j) .
    b b n / (b n + k)) is s."""
    assert expected(CASES[case])["both of its ceiling"] == pytest.approx(SHARE)
    assert check_coverage.sides(CASES[case], 6)["both of its ceiling"] == pytest.approx(SHARE, abs=0.04)


def test_where_the_childs_own_are_missed_no_side_is_right():
    found = check_coverage.sides(CASES["the child's SAEs miss what is the child's alone"], 6)
    assert found["child"] > SHARE + 0.2 and found["both of its ceiling"] > SHARE + 0.1


def test_intervals_hold_the_truth_of_a_small_lineage(monkeypatch):
    """In 24 draws of 95 % intervals fewer than 19 hold it with a chance below 0.1 %."""
    for name, value in dict(LONG=800, MANY=8, RESAMPLES=50, DOCUMENTS=80, TAUS=(0.7,)).items():
        monkeypatch.setattr(check_coverage, name, value)
    world = dataclasses.replace(World(), both=15, own=10)

    class Bar:
        update = staticmethod(lambda: None)

    rows = check_coverage.coverage(world, 24, Bar)
    assert len(rows) == 27 and stats.binom.cdf(18, 24, 0.95) < 0.001
    assert all(row["covered"] >= 19 / 24 for row in rows if row["side"] == "both")


def test_the_committed_numbers_are_those_of_the_page():
    found = json.loads((ROOT / "benchmarks" / "check_coverage.json").read_text(encoding="utf-8"))
    assert check_coverage.tables(found) in (ROOT / "docs" / "intervals.md").read_text(encoding="utf-8")
    assert {row["side"] for row in found["coverage"]} == set(shares.SIDES)
