"""Controls: one question each, one table, one sentence of answer computed from it (notebook 09).

Tables have x (the variant), and for the lineage's first edge, one-to-one at its tau, both models' sides: observed,
ci_low, ci_high, ceiling, ceiling_low, ceiling_high, null, excess, excess_low, excess_high, replicates (SAE seeds), and
the pair in which the variant's excess differs most: `differences.COLUMNS`.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.matching import bootstrap
from unifeat.matching.comparison import Comparison
from unifeat.sae import features
from unifeat.studies import baselines, differences, persistence, shares
from unifeat.studies.differences import Estimate
from unifeat.studies.variants import another_root, first_edge, variant, variants

RULE, SIDE = "one_to_one", "both"
BINS = 5  # of firing density
MATCHED = 0.05  # how far L0 may be from k in a fair comparison of kinds


def measure(run: Run, edge=None, arm: str = "controlled", tau: float | None = None) -> dict:
    """Observed share, ceiling, null and excess of one edge (the first), with intervals, and the number of SAE seeds."""
    return _measured(run, edge, arm, tau)[0]


def _measured(run: Run, edge=None, arm: str = "controlled", tau: float | None = None) -> tuple[dict, Estimate]:
    return judged(persistence.evidence(run, *(edge or first_edge(run)), arm),
                   run.lineage.comparison.tau if tau is None else tau)


def judged(evidence: shares.Evidence, tau: float, features: str = "all") -> tuple[dict, Estimate]:
    """The row of a table, and its excess with replicates."""
    of, at = (evidence, RULE, SIDE, features), shares.number(tau)
    found, row = shares.replicates(*of), shares.at(shares.measured(*of), tau) | dict(replicates=len(evidence.seeds))
    return row, Estimate(*(found[name][..., at] for name in ("value", "resampled", "left_out")))


def table(found: list[tuple], pairs: list[tuple[int, int]] | None = None, **how) -> pd.DataFrame:
    """The table of rows with their estimates, (row, estimate or None to leave it out of all pairs).

    pairs: of rows (all); how: same_seeds and same_documents, as in `differences.between`.
    """
    rows, estimates = zip(*found, strict=True)
    kept = [number for number, one in enumerate(estimates) if one is not None and one.finite]
    if pairs is not None:
        pairs = [(kept.index(a), kept.index(b)) for a, b in pairs if a in kept and b in kept]
    names, frame = [rows[number]["x"] for number in kept], pd.DataFrame(rows)
    best = differences.strongest(names, differences.between([estimates[number] for number in kept], pairs, **how))
    return frame.join(best.set_index(pd.Index(kept, dtype=int)))


def _sae_quality(run: Run) -> dict:
    """L0, CE recovered, dead share of the parent's SAEs, means over seeds."""
    table = run.sae_table(first_edge(run)[0])
    return {name: table[name].mean() for name in ("l0", "ce_recovered_mean", "dead_share")}


def initialization(run: Run) -> pd.DataFrame:
    """Are features shared because the SAEs started from the same weights? Every edge, both arms (x = arm).

    same_index: share of the pairs with r >= tau that have one index in both SAEs; by chance it is 1 / width.
    Both arms pair the same SAEs, and are compared within an edge.
    """
    found = []
    for edge in run.lineage.edges:
        for arm, name in (("controlled", "independent"), ("as_published", "shared")):
            pairs = [run.compare((edge[0], a), (edge[1], b)) for a, b in persistence.seed_pairs(run, arm)]
            row, estimate = _measured(run, edge, arm)
            same = np.mean([_same_index(one, run.lineage.comparison.tau) for one in pairs])
            found.append((dict(x=name, edge=f"{edge[0]} → {edge[1]}") | row | dict(same_index=same), estimate))
    return table(found, [(first, first + 1) for first in range(0, len(found), 2)], same_seeds=True)


def _same_index(one, tau: float) -> float:
    pairs = one.table["assigned"][one.table["r_assigned"] >= tau]
    return float((one.live_a[pairs[:, 0]] == one.live_b[pairs[:, 1]]).mean()) if len(pairs) else 0.0


def kinds(run: Run) -> pd.DataFrame:
    """Does the kind of SAE decide? relu, topk and batchtopk steered to the same L0 (x = kind).

    matched: whether the base's L0 is within 5 % of the lineage's k; only then is it a fair comparison. A kind that is
    not is trained once more.
    """
    k, found = run.lineage.sae.k, []
    for row, estimate in _sweep((kind, _matched(one, k)) for kind, one in variants(run)["kinds"]):
        matched = abs(row["l0"] / k - 1) <= MATCHED
        found.append((row | dict(matched=matched), estimate if matched else None))
    return table(found)


def _matched(run: Run, k: int) -> Run:
    """The run if its base's L0 is near k, else one with the k that makes up for it (a secant step through 0).

    batchtopk lets k through per token of a batch in training, but all above one threshold in use, so its L0 drifts.
    """
    l0 = _sae_quality(run)["l0"]
    if abs(l0 / k - 1) <= MATCHED:
        return run
    better = max(1, round(k * k / l0))
    return variant(run, sae=dict(k=better, k_first=max(better, run.lineage.sae.k_first)))


def sizes(run: Run) -> pd.DataFrame:
    """Does the size of the dictionary decide? (x = latents per MLP neuron)."""
    return table(_sweep(variants(run)["sizes"]))


def lengths(run: Run) -> pd.DataFrame:
    """Does the length of the SAEs' training decide? (x = activations seen, millions)."""
    return table(_sweep(variants(run)["lengths"]))


def _sweep(runs) -> list[tuple[dict, Estimate]]:
    found = []
    for x, one in runs:
        _ready(one)
        row, estimate = _measured(one)
        found.append((dict(x=x) | row | _sae_quality(one), estimate))
    return found


def _ready(run: Run) -> None:
    """Compute the comparisons of the first edge's SAEs, several at a time."""
    edge, seeds = first_edge(run), run.lineage.sae.seeds
    twins = [(Run.compare, (name, a), (name, b)) for name in edge for a, b in combinations(seeds, 2)]
    persistence.ready(run, twins, "matching, twins")  # which the rest needs
    persistence.ready(run, [(Run.compare, (edge[0], a), (edge[1], b))
                            for a, b in persistence.seed_pairs(run, "controlled")], "matching")


def thresholds(run: Run, taus=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)) -> pd.DataFrame:
    """Does the threshold decide? (x = tau)."""
    found = [_measured(run, tau=tau) for tau in taus]
    return table([(dict(x=tau) | row, estimate) for tau, (row, estimate) in zip(taus, found, strict=True)],
                  same_seeds=True)


def mixes(run: Run) -> pd.DataFrame:
    """Does the comparison text decide? Each domain alone, and all in equal parts (x = domain or balanced).

    The SAEs are the same; documents of two domains are not. (The balanced text has some of each, so that its spread
    beside a domain is told too large, never too small.)
    """
    seeds, found, edge = persistence.seed_pairs(run, "controlled"), [], first_edge(run)
    for number, domain in enumerate(run.lineage.domains):
        pairs = [_within(run, number, (edge[0], a), (edge[1], b)) for a, b in seeds]
        same = {side: [_within(run, number, one.a, one.b) for one in run.twins(name)]
                for side, name in zip(matching.SIDES, edge, strict=True)}
        row, estimate = judged(shares.Evidence(pairs, same), run.lineage.comparison.tau)
        found.append((dict(x=domain) | row, estimate))
    row, estimate = _measured(run)
    return table([*found, (dict(x="balanced") | row, estimate)], same_seeds=True, same_documents=False)


def _within(run: Run, number: int, a: tuple[str, int], b: tuple[str, int]) -> Comparison:
    """Two SAEs compared on one domain of the comparison text; live features are counted there too."""
    kept = run.comparison_text["domain"] == number
    return _stored(run, f"mix-{run.lineage.domains[number]}-{a[0]}{a[1]}-{b[0]}{b[1]}", [run, run], a, b, kept)


def models(run: Run) -> pd.DataFrame:
    """Is any feature universal? The root against itself trained from another seed (x = what is compared).

    One other language model: replicates are of the SAEs, and what differs holds for these models.
    """
    (parent, child), p = first_edge(run), run.lineage
    row, estimate = _measured(run)
    found = [(dict(x=f"{parent} → {run.theme.short(child)}") | row, estimate)]
    again = another_root(run, parent)
    if again is None:
        return table(found)
    everything = np.ones(len(run.comparison_text["domain"]), bool)
    across = [_stored(run, f"lm-seeds-{a}-{b}", [run, again], (parent, a), (parent, b), everything)
              for a, b in persistence.seed_pairs(again, "controlled")]
    row, estimate = judged(shares.Evidence(across, dict(parent=run.twins(parent), child=again.twins(parent))),
                            p.comparison.tau)
    neurons = shares.alone([baselines.neurons(run, parent, parent, again)], RULE, SIDE)
    return table([*found, (dict(x=f"{parent} → another {parent}") | row, estimate),
                   (dict(x="their neurons", replicates=0) | shares.at(neurons, p.comparison.tau), None)])


def _stored(run: Run, stage: str, runs, a, b, rows: np.ndarray) -> Comparison:
    def live():
        both = [one.features(*which)[rows] for one, which in zip(runs, (a, b), strict=True)]
        return [np.flatnonzero(features.fires(f) >= run.lineage.comparison.min_fires) for f in both]

    def sides():
        return [one.features(*which)[rows][:, kept] for one, which, kept in zip(runs, (a, b), live(), strict=True)]

    inputs = [one.feature_stage(which[0]) for one, which in zip(runs, (a, b), strict=True)]
    return Comparison(a, b, *live(), baselines.kept(run, stage, sides, inputs, rows, with_null=True))


def densities(run: Run) -> pd.DataFrame:
    """Do persisting features fire more often? Fifths of the child's features by density (x = median density, log10).

    observed and ceiling: share one-to-one with r >= tau, in the parent and in the child's own seed twins; intervals are
    of a share of so many features (Wilson 1927). excess as everywhere, with a null of 0; its interval by bootstrap over
    as many features as one pair of SAEs has, since the pairs share them. That bootstrap stands for documents where
    fifths are compared, and a seed left out takes its rows with it.
    """
    found, (parent, child), frames = [], first_edge(run), []
    tau, seed = run.lineage.comparison.tau, run.lineage.comparison.seed
    for a, b in persistence.seed_pairs(run, "controlled"):
        one, twin = run.compare((parent, a), (child, b)), run.compare((child, min(a, b)), (child, max(a, b)))
        density = features.fires(run.features(child, b))[one.live_b] / run.features(child, b).shape[0]
        frames.append(pd.DataFrame(dict(a=a, b=b, density=np.log10(density), kept=one.kept(RULE, tau)[1],
                                        again=twin.kept(RULE, tau)[int(a < b)])))
    frame = pd.concat(frames, ignore_index=True)
    order = frame["density"].rank(method="first")
    for _, part in frame.groupby(np.ceil(order / len(frame) * BINS)):
        found.append(_fifth(part, len(part) / len(frames), np.random.default_rng(seed)))
    return table(found, same_seeds=True, same_documents=False)


def _fifth(part: pd.DataFrame, n: float, rng) -> tuple[dict, Estimate]:
    """The row of one fifth, of which one pair of SAEs has n features, and its excess with replicates."""
    def excess(rows):
        return float(matching.excess(rows["kept"].mean(), rows["again"].mean(), 0.0))

    low, high = wilson(part["kept"].mean(), n)
    ends = wilson(part["again"].mean(), n)
    drawn = part[["kept", "again"]].to_numpy(float)[rng.integers(len(part), size=(1000, round(n)))].mean(1)
    resampled = matching.excess(drawn[:, 0], drawn[:, 1], 0.0)
    excesses, seeds = bootstrap.interval(resampled, bounds=(-np.inf, np.inf)), sorted(set(part["a"]) | set(part["b"]))
    left = [excess(part[(part["a"] != seed) & (part["b"] != seed)]) for seed in seeds] if len(seeds) > 2 else []
    return dict(x=part["density"].median(), observed=part["kept"].mean(), ci_low=low, ci_high=high,
                ceiling=part["again"].mean(), ceiling_low=ends[0], ceiling_high=ends[1], null=0.0,
                excess=excess(part), excess_low=excesses[0], excess_high=excesses[1],
                replicates=len(seeds)), Estimate(excess(part), resampled, np.array(left))


def wilson(share: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n.

    >>> [round(float(end), 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    middle, width = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)
