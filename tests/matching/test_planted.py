"""The matcher against planted truth: what was put in is what comes out."""

import numpy as np
import pytest

from unifeat import matching
from unifeat.matching import bootstrap, correlate, match, persistence, planted
from unifeat.matching.planted import Recipe, plant

TAU = 0.8


def matched(found, rule="one_to_one", side="child"):
    pairs = found.pairs(rule, side)
    return {tuple(pair) for pair in pairs[found.r[tuple(pairs.T)] >= TAU].tolist()}


def true_pairs(p, low=TAU):
    rows = p.truth[(p.truth["parent"] >= 0) & (p.truth["child"] >= 0) & (p.truth["r"] >= low)]
    return set(zip(rows["parent"], rows["child"], strict=True))


def test_planted_correlations_are_those_of_much_text():
    p = plant(Recipe((0.95, 0.8, 0.5, 0.3), split=(0.7,), merged=(0.6,), documents=8000, noise=0.05), seed=0)
    rows = p.truth[(p.truth["parent"] >= 0) & (p.truth["child"] >= 0)]
    np.testing.assert_allclose(correlate(p.parent, p.child)[rows["parent"], rows["child"]], rows["r"], atol=0.02)


def test_text_is_realistic_and_seeded():
    recipe = Recipe((0.9,) * 40, emerged=20, vanished=20)
    p, again, other = plant(recipe, 0), plant(recipe, 0), plant(recipe, 1)
    density = np.diff(p.parent.tocsc().indptr) / p.parent.shape[0]
    lengths = np.bincount(p.document)
    assert density.min() > 0.0005 and density.max() < 0.12 and density.mean() < 0.04
    assert lengths.std() > 30 and set(p.domain) == {0, 1, 2, 3}
    assert (p.child != again.child).nnz == 0 and p.child.shape[0] != other.child.shape[0]
    assert p.truth.equals(other.truth), "two probes of the same models have one truth"


@pytest.mark.parametrize("seed", range(3))
def test_precision_and_recall_clearly_above_the_threshold(seed):
    """Shared features with r of 0.9-0.99 among emerged, vanished, split and merged ones and weak pairs."""
    recipe = Recipe(tuple(np.linspace(0.9, 0.99, 200)) + (0.5,) * 50, emerged=100, vanished=100, split=(0.5,) * 25,
                    merged=(0.5,) * 25, documents=500, noise=0.01, density=(0.004, 0.05))
    p = plant(recipe, seed)
    every, truth = match(correlate(p.parent, p.child)), true_pairs(p)
    assert len(truth) == 200
    for rule in matching.RULES:
        found = matched(every, rule)
        assert len(found & truth) / len(found) >= 0.99 and len(found & truth) / len(truth) >= 0.99, rule


def test_each_kind_of_relation_gets_its_name():
    """Halves of a split or merged feature (r about 0.7) are no persistence; a child that kept 4 in 5 firings is."""
    p = plant(Recipe((0.95,) * 20, emerged=20, vanished=20, split=(0.5,) * 20 + (0.8,) * 20, merged=(0.5,) * 20,
                     documents=1500, density=(0.01, 0.05)), seed=0)
    found = match(correlate(p.parent, p.child))
    best = found.r[found.partner_of_b, np.arange(found.r.shape[1])]
    truth = p.truth[p.truth["child"] >= 0]
    kept = {kind: (best[rows["child"]] >= TAU) for kind, rows in truth.groupby("kind")}
    assert kept["shared"].all() and not kept["emerged"].any() and not kept["merged"].any()
    big = truth[(truth["kind"] == "split") & (truth["r"] > 0.85)]
    assert len(big) == 20 and (best[big["child"]] >= TAU).mean() >= 0.95 and kept["split"].sum() <= 20
    halves = truth[(truth["kind"] == "split") & (truth["r"] < 0.75) & (truth["r"] > 0.6)]
    assert (found.partner_of_b[halves["child"]] == halves["parent"]).all(), "a half's best match is still its parent"
    gone = p.truth.loc[p.truth["kind"] == "vanished", "parent"]
    assert (found.r[gone].max(axis=1) < TAU).all()


def test_near_the_threshold_the_share_rises_as_chance_has_it():
    """At planted r = tau half the features pass; a little above most, a little below few."""
    passed = {}
    for r in (0.75, 0.8, 0.85):
        p = plant(Recipe((r,) * 200, documents=300, density=(0.01, 0.05)), seed=1)
        passed[r] = persistence(match(correlate(p.parent, p.child)), [TAU])["one_to_one", "child"][0]
    assert abs(passed[0.8] - 0.5) < 0.1 and passed[0.75] < 0.12 and passed[0.85] > 0.88


def test_an_exact_copy_in_another_order_and_scale_is_recovered_whole():
    p = plant(Recipe((1.0,) * 150), seed=3)
    found = match(correlate(p.parent, p.child))
    assert matched(found) == true_pairs(p) and len(true_pairs(p)) == 150
    assert all(share[0] == 1 for share in persistence(found, [1.0]).values())


def test_independent_models_share_nothing():
    shares = []
    for seed in range(3):
        p = plant(Recipe((), emerged=400, vanished=400), seed=seed)
        live = [np.diff(m.tocsc().indptr) >= 20 for m in (p.parent, p.child)]
        shares += [share[0] for share in persistence(match(correlate(p.parent[:, live[0]], p.child[:, live[1]])),
                                                     [TAU]).values()]
    assert max(shares) < 0.001


def test_more_noise_than_r_allows_is_refused():
    with pytest.raises(ValueError, match="choose a smaller noise"):
        plant(Recipe((1.0,), noise=0.5), seed=0)
    with pytest.raises(ValueError, match="domains' own correlation"):
        planted.copy_share(0.0, np.array([0.1, 0.0, 0.0, 0.0]), 0.0)


def test_intervals_cover_the_planted_share_at_their_nominal_rate():
    """95 % intervals over new features and new text each time; the plain percentile interval falls short.

    Measured here: 97, 93, 95 and 80 % at the four thresholds (percentile intervals: 93, 78, 80, 72 %). The last falls
    short: few features lie above 0.9, r is skewed there, and the resamples see too little of either.
    """
    taus, covered, naive = np.array([0.5, 0.7, 0.8, 0.9]), [], []
    for seed in range(40):
        r = np.random.default_rng(seed).triangular(0.2, 0.3, 1.0, 200).clip(0.15, 0.99)
        p = plant(Recipe(tuple(r), emerged=40, vanished=40, documents=200, density=(0.003, 0.05)), seed, features=seed)
        found = match(correlate(p.parent, p.child))
        values, _ = bootstrap.resampled_r(p.parent, p.child, found, p.document, p.domain, 60, seed)["best", "child"]
        truth = np.array([p.share("child", tau) for tau in taus])
        spread = bootstrap.calibrated(found.r.max(0), values, found.r.shape[1], taus)
        plain = np.stack([(values >= tau).mean(1) for tau in taus], axis=1)
        for kept, shares in ((covered, spread), (naive, plain)):
            low, high = bootstrap.interval(shares)
            kept.append((low - 1e-9 <= truth) & (truth <= high + 1e-9))
    covered, naive = np.mean(covered, axis=0), np.mean(naive, axis=0)
    assert 0.91 <= covered[:3].mean() <= 0.99 and covered[2] >= 0.9, f"intervals of 95 % cover {covered} at {taus}"
    assert (covered > naive).all() and naive[2] < 0.9, f"the percentile interval covers {naive}: is it good enough?"
