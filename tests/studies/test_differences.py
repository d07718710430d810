"""Which variants differ: errors and p-values against scipy's tests, Holm's by hand, and how often nothing differs."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from unifeat.studies import differences
from unifeat.studies.differences import Estimate, between

STILL = np.zeros(200)  # documents that change nothing


def of_mean(values, resampled=STILL) -> Estimate:
    """The mean of what each seed gives, with replicates."""
    values = np.asarray(values, float)
    left = [np.delete(values, number).mean() for number in range(len(values))]
    return Estimate(values.mean(), values.mean() + resampled, np.array(left))


A, B, C = np.random.default_rng(3).normal([[0.0], [0.7], [0.2]], 0.3, (3, 5))


def test_of_a_mean_pseudo_values_are_the_values():
    assert differences.pseudo_values(of_mean(A).value, of_mean(A).left_out) == pytest.approx(A)


def test_two_variants_of_their_own_seeds_are_students_t_test():
    found = between([of_mean(A), of_mean(B)]).iloc[0]
    want = stats.ttest_ind(B, A)
    ends = want.confidence_interval(0.95)
    assert found["p"] == pytest.approx(want.pvalue) and found["difference"] == pytest.approx(B.mean() - A.mean())
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high))


def test_two_variants_of_the_same_seeds_are_the_paired_t_test():
    found = between([of_mean(A), of_mean(B)], same_seeds=True).iloc[0]
    want = stats.ttest_rel(B, A)
    ends = want.confidence_interval(0.95)
    assert found["p"] == pytest.approx(want.pvalue)
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high))


def test_more_variants_share_the_variance_within_groups():
    """The mean square within groups of a one-way analysis of variance: F is that between groups over it."""
    groups = (A, B, C[:3])
    errors, freedom = differences.seed_errors([of_mean(one) for one in groups], [(0, 1), (0, 2)], False)
    every = np.concatenate(groups)
    apart = sum(len(one) * (one.mean() - every.mean()) ** 2 for one in groups) / 2
    within = apart / stats.f_oneway(*groups).statistic
    assert freedom == 10 and errors == pytest.approx(np.sqrt(within * np.array([2 / 5, 1 / 5 + 1 / 3])))


def test_documents_alone_are_the_normal_test_and_cancel_where_they_are_shared():
    drawn = np.random.default_rng(0).normal(0, 0.1, 200)
    one, two = of_mean([0.5] * 3, drawn), of_mean([0.7] * 3, drawn[::-1])
    apart = between([one, two], same_documents=False).iloc[0]
    error = np.sqrt(2) * drawn.std(ddof=1)
    assert apart["p"] == pytest.approx(2 * stats.norm.sf(0.2 / error))
    assert apart["high"] - apart["difference"] == pytest.approx(1.959964 * error)
    same = between([one, of_mean([0.7] * 3, drawn)]).iloc[0]
    assert (same["low"], same["high"]) == pytest.approx((0.2, 0.2)) and same["p"] < 1e-9


def test_both_parts_add_square_and_square_and_p_is_where_the_interval_ends():
    assert differences.half_width(0.05, 3.0, 0.5, 2) == pytest.approx(np.hypot(3 * 1.959964, 0.5 * 4.302653))
    p = differences.p_values(np.array([0.0, 1.0, 6.0]), 1.0, 0.5, 4)
    assert p[0] == 1 and differences.half_width(p[1:], 1.0, 0.5, 4) == pytest.approx([1.0, 6.0])


def test_holm_by_hand():
    assert differences.holm([0.02, 0.02, 0.2, 0.001]) == pytest.approx([0.06, 0.06, 0.2, 0.004])
    assert differences.holm([0.7, 0.6]).tolist() == [1, 1] and len(differences.holm([])) == 0


def test_the_interval_is_corrected_for_the_pairs_and_agrees_with_holms_first_step():
    found = between([of_mean(one) for one in (A, B, C)])
    first = found.loc[found["p"].idxmin()]
    assert found["comparisons"].tolist() == [3] * 3 and (found["strength"].idxmax() == found["p"].idxmin())
    assert (first["p"] <= 0.05) == (first["low"] > 0 or first["high"] < 0) == (first["strength"] >= 1)
    errors, freedom = differences.seed_errors([of_mean(one) for one in (A, B, C)], [(0, 1)], False)
    assert found["high"][0] - found["difference"][0] == pytest.approx(stats.t.isf(0.05 / 6, freedom) * errors[0])


@pytest.mark.parametrize("estimates", [
    [of_mean([1.0, 2.0]), of_mean([5.0, 6.0])], [of_mean(A), of_mean([np.nan] * 3)], [of_mean(A)], []])
def test_nothing_is_told_of_two_seeds_of_gaps_or_of_one_variant(estimates):
    found = between(estimates)
    assert len(found) == len(estimates) // 2 and found[["low", "high", "p", "strength"]].isna().all(axis=None)


def test_every_variant_is_told_where_it_differs_most():
    rows = differences.strongest(["a", "b", "c"], between([of_mean(one) for one in (A, B, C)]))
    assert rows["versus"].tolist() == ["b", "a", "b"] and rows["comparisons"].tolist() == [3] * 3
    assert rows["difference"].tolist() == pytest.approx([A.mean() - B.mean(), B.mean() - A.mean(), C.mean() - B.mean()])
    assert ((rows["difference_low"] < rows["difference"]) & (rows["difference"] < rows["difference_high"])).all()
    assert rows["difference_low"][0] == -rows["difference_high"][1] and rows["p"][0] == rows["p"][1]
    alone = differences.strongest(["a", "b", "c"], between([of_mean(one) for one in (A, B, C)], [(0, 1)]))
    assert alone["versus"].tolist()[:2] == ["b", "a"] and alone.loc[2].isna().all()


def of_pairs(rng, seeds: int = 3) -> Estimate:
    """A mean over pairs of a parent's with a child's SAE of another seed, as our shares are; its true value is 0."""
    parent, child, both = rng.normal(size=seeds), rng.normal(size=seeds), rng.normal(size=(seeds, seeds))

    def mean(seeds):
        return np.mean([parent[a] + child[b] + both[a, b] for a in seeds for b in seeds if a != b])

    left = [mean([seed for seed in range(seeds) if seed != out]) for out in range(seeds)]
    return Estimate(mean(range(seeds)), np.zeros(20), np.array(left))


def with_documents(rng, one: Estimate, error: float, shared: np.ndarray) -> Estimate:
    """The same, off by what is common to all variants and by its documents' own share, with resamples of both."""
    off = error * rng.normal()
    drawn = one.value + off + shared[0] + shared[1:] + error * rng.normal(size=len(shared) - 1)
    return Estimate(one.value + off + shared[0], drawn, one.left_out + off + shared[0])


@pytest.mark.parametrize("documents, same_seeds, made", [
    (0.0, False, "means"), (1.0, False, "means"), (0.0, False, "pairs"), (1.0, False, "pairs"), (0.0, True, "means"),
    (0.5, True, "means")])
def test_where_nothing_differs_a_table_says_so_19_times_in_20(documents, same_seeds, made):
    """Five variants of three seeds, ten pairs: one false difference or more in at most 5 % of families."""
    rng, families, false = np.random.default_rng(1), 700, 0
    for _ in range(families):
        common, shared = 3 * rng.normal(size=3) * same_seeds, rng.normal(size=201)
        ones = [of_mean(common + rng.normal(size=3)) if made == "means" else of_pairs(rng) for _ in range(5)]
        found = between([with_documents(rng, one, documents, shared) for one in ones], same_seeds=same_seeds)
        false += (found["p"] <= differences.LEVEL).any()
    error = np.sqrt(0.05 * 0.95 / families)
    assert false / families <= 0.05 + 1.645 * error
    assert len(found) == len(list(combinations(range(5), 2)))


def test_a_difference_of_a_few_errors_is_found():
    rng = np.random.default_rng(2)
    found = [between([of_mean(rng.normal(size=3) + shift) for shift in (0, 0, 0, 0, 6)]) for _ in range(200)]
    assert np.mean([(one["p"] <= 0.05).any() for one in found]) > 0.9
