"""Controls: one question each, one table, one sentence of answer computed from it (notebook 09).

Tables have x (the variant), and for the lineage's first edge, one-to-one at its tau, child's side: observed,
ci_low, ci_high, ceiling, ceiling_low, ceiling_high, null, excess, excess_low, excess_high.
"""

import dataclasses

import numpy as np
import pandas as pd

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.lineage.settings import LineageError
from unifeat.matching import bootstrap
from unifeat.matching.comparison import Comparison
from unifeat.sae import features
from unifeat.studies import baselines, persistence, shares

RULE = "one_to_one"
EXCESS = ("excess_low", "excess_high")  # the ends of an excess's interval
BINS = 5  # of firing density
MATCHED = 0.05  # how far L0 may be from k in a fair comparison of kinds
WEAK_L1 = 1.0  # where relu's steered coefficient starts if the lineage has none


def variant(run: Run, **changes: dict) -> Run:
    """The run with settings of some stages replaced, in the same store: variant(run, sae=dict(k=8))."""
    sections = {name: dataclasses.replace(getattr(run.lineage, name), **change) for name, change in changes.items()}
    return Run(dataclasses.replace(run.lineage, **sections), run.root, run.figures, given=run.given)


def another_root(run: Run, name: str) -> Run | None:
    """The run with the model `name` trained from another seed, and two SAEs a model; None if it is not trained here."""
    p = run.lineage
    one = p.models[name]
    if not one.train:
        return None
    again = dataclasses.replace(one, train=dataclasses.replace(one.train, seed=one.train.seed + 1))
    lineage = dataclasses.replace(p, models=p.models | {name: again})
    return variant(dataclasses.replace(run, lineage=lineage), model=dict(seed=p.model.seed + 1),
                   sae=dict(seeds=p.sae.seeds[:2]))


def first_edge(run: Run) -> tuple[str, str]:
    """The edge that the controls are about.

    Raises:
        LineageError: the lineage has no edge.
    """
    if not run.lineage.edges:
        raise LineageError(f"The controls compare a parent with its child, and {run.lineage.name} has no edge; add a "
                           f"model "
                           "with a parent to the lineage.")
    return run.lineage.edges[0]


def measure(run: Run, edge=None, arm: str = "controlled", tau: float | None = None) -> dict:
    """Observed share, ceiling, null and excess of one edge (the first), with intervals."""
    edge = edge or first_edge(run)
    tau = run.lineage.comparison.tau if tau is None else tau
    return shares.at(shares.measured(persistence.evidence(run, *edge, arm), RULE), tau)


def _sae_quality(run: Run) -> dict:
    """L0, CE recovered, dead share of the parent's SAEs, means over seeds."""
    table = run.sae_table(first_edge(run)[0])
    return {name: table[name].mean() for name in ("l0", "ce_recovered_mean", "dead_share")}


def initialization(run: Run) -> pd.DataFrame:
    """Are features shared because the SAEs started from the same weights? Every edge, both arms (x = arm).

    same_index: share of the pairs with r >= tau that have one index in both SAEs; by chance it is 1 / width.
    """
    rows = []
    for edge in run.lineage.edges:
        for arm, name in (("controlled", "independent"), ("as_published", "shared")):
            found = [run.compare((edge[0], a), (edge[1], b)) for a, b in persistence.seed_pairs(run, arm)]
            rows.append(dict(x=name, edge=f"{edge[0]} → {edge[1]}") | measure(run, edge, arm)
                        | dict(same_index=np.mean([_same_index(one, run.lineage.comparison.tau) for one in found])))
    return pd.DataFrame(rows)


def _same_index(one, tau: float) -> float:
    pairs = one.table["assigned"][one.table["r_assigned"] >= tau]
    return float((one.live_a[pairs[:, 0]] == one.live_b[pairs[:, 1]]).mean()) if len(pairs) else 0.0


def kinds(run: Run) -> pd.DataFrame:
    """Does the kind of SAE decide? relu, topk and batchtopk steered to the same L0 (x = kind).

    matched: whether the base's L0 is within 5 % of the lineage's k; only then is it a fair comparison. A kind that is
    not is trained once more.
    """
    k = run.lineage.sae.k
    frame = _sweep((kind, _matched(one, k)) for kind, one in variants(run)["kinds"])
    return frame.assign(matched=(frame["l0"] / k - 1).abs() <= MATCHED)


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
    return _sweep(variants(run)["sizes"])


def lengths(run: Run) -> pd.DataFrame:
    """Does the length of the SAEs' training decide? (x = activations seen, millions)."""
    return _sweep(variants(run)["lengths"])


def variants(run: Run) -> dict[str, list[tuple]]:
    """Per question that needs other SAEs, (x, run) of each variant."""
    p = run.lineage
    counts = [round(p.controls.tokens * share) for share in p.controls.lengths]
    return dict(kinds=[(kind, other(run, kind=kind)) for kind in p.controls.kinds],
                sizes=[(times, other(run, width=times * p.model.d_mlp)) for times in p.controls.expansions],
                lengths=[(count / 1e6, other(run, tokens=count)) for count in counts])


def other(run: Run, **change) -> Run:
    """The same run with other SAEs: two seeds, trained for controls.tokens, and `change` on top.

    Every recipe carries relu's L1 coefficient, which the other kinds ignore: equal recipes then have equal settings and
    are trained once.
    """
    p = run.lineage
    return variant(run, sae=dict(seeds=p.sae.seeds[:2], tokens=p.controls.tokens, l1=p.sae.l1 or WEAK_L1) | change)


def _sweep(runs) -> pd.DataFrame:
    return pd.DataFrame([dict(x=x) | measure(one) | _sae_quality(one) for x, one in runs])


def thresholds(run: Run, taus=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)) -> pd.DataFrame:
    """Does the threshold decide? (x = tau)."""
    return pd.DataFrame([dict(x=tau) | measure(run, tau=tau) for tau in taus])


def mixes(run: Run) -> pd.DataFrame:
    """Does the comparison text decide? Each domain alone, and all in equal parts (x = domain or balanced)."""
    seeds, rows, edge = persistence.seed_pairs(run, "controlled"), [], first_edge(run)
    for number, domain in enumerate(run.lineage.domains):
        pairs = [_within(run, number, (edge[0], a), (edge[1], b)) for a, b in seeds]
        same = [_within(run, number, one.a, one.b) for one in run.twins(edge[1])]
        found = shares.measured(shares.Evidence(pairs, dict(child=same)), RULE)
        rows.append(dict(x=domain) | shares.at(found, run.lineage.comparison.tau))
    return pd.DataFrame([*rows, dict(x="balanced") | measure(run)])


def _within(run: Run, number: int, a: tuple[str, int], b: tuple[str, int]) -> Comparison:
    """Two SAEs compared on one domain of the comparison text; live features are counted there too."""
    kept = run.comparison_text["domain"] == number
    return _stored(run, f"mix-{run.lineage.domains[number]}-{a[0]}{a[1]}-{b[0]}{b[1]}", [run, run], a, b, kept)


def models(run: Run) -> pd.DataFrame:
    """Is any feature universal? The root against itself trained from another seed (x = what is compared)."""
    (parent, child), p = first_edge(run), run.lineage
    rows = [dict(x=f"{parent} → {run.theme.short(child)}") | measure(run)]
    again = another_root(run, parent)
    if again is None:
        return pd.DataFrame(rows)
    everything, tau = np.ones(len(run.comparison_text["domain"]), bool), p.comparison.tau
    across = [_stored(run, f"lm-seeds-{a}-{b}", [run, again], (parent, a), (parent, b), everything)
              for a, b in persistence.seed_pairs(again, "controlled")]
    found = shares.measured(shares.Evidence(across, dict(child=again.twins(parent))), RULE)
    neurons = shares.alone([baselines.neurons(run, parent, parent, again)], RULE)
    return pd.DataFrame([*rows, dict(x=f"{parent} → another {parent}") | shares.at(found, tau),
                         dict(x="their neurons") | shares.at(neurons, tau)])


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
    as many features as one pair of SAEs has, since the pairs share them.
    """
    tau, rows, frames, (parent, child) = run.lineage.comparison.tau, [], [], first_edge(run)
    for a, b in persistence.seed_pairs(run, "controlled"):
        one, twin = run.compare((parent, a), (child, b)), _twin(run, b)
        density = features.fires(run.features(child, b))[one.live_b] / run.features(child, b).shape[0]
        frames.append(pd.DataFrame(dict(density=np.log10(density), kept=one.kept(RULE, tau)[1], again=twin)))
    frame = pd.concat(frames, ignore_index=True)
    order = frame["density"].rank(method="first")
    for _, part in frame.groupby(np.ceil(order / len(frame) * BINS)):
        low, high = wilson(part["kept"].mean(), len(part) / len(frames))
        ends = wilson(part["again"].mean(), len(part) / len(frames))
        rng, size = np.random.default_rng(run.lineage.comparison.seed), round(len(part) / len(frames))
        drawn = part[["kept", "again"]].to_numpy(float)[rng.integers(len(part), size=(1000, size))].mean(1)
        excesses = bootstrap.interval(matching.excess(drawn[:, 0], drawn[:, 1], 0.0), bounds=(-np.inf, np.inf))
        rows.append(dict(x=part["density"].median(), observed=part["kept"].mean(), ci_low=low, ci_high=high,
                         ceiling=part["again"].mean(), ceiling_low=ends[0], ceiling_high=ends[1], null=0.0,
                         excess=float(matching.excess(part["kept"].mean(), part["again"].mean(), 0.0)),
                         excess_low=excesses[0], excess_high=excesses[1]))
    return pd.DataFrame(rows)


def _twin(run: Run, seed: int) -> np.ndarray:
    """Which live features of the child's SAE `seed` a seed twin finds again, mean over its twins."""
    found = [one.kept(RULE, run.lineage.comparison.tau)[0 if one.a[1] == seed else 1]
             for one in run.twins(first_edge(run)[1]) if seed in (one.a[1], one.b[1])]
    return np.mean(found, axis=0)


def wilson(share: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n.

    >>> [round(float(end), 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    middle, width = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)


def answer(frame: pd.DataFrame, what: str) -> str:
    """One sentence: least and greatest excess over the variants of a table, with intervals, and whether they differ.

    Differ means that the two intervals have no point in common.
    """
    rows = frame.dropna(subset=["excess"])
    if "matched" in rows and not rows["matched"].all():
        what += f" (not at matched L0: {', '.join(rows.loc[~rows['matched'], 'x'])}, left out)"
        rows = rows[rows["matched"]]
    if len(rows) < 2:
        return f"{what}: too few variants could be measured to compare them."
    column = "excess" if rows[list(EXCESS)].notna().all(axis=None) else "observed"
    low, high = rows.loc[rows[column].idxmin()], rows.loc[rows[column].idxmax()]
    ends = EXCESS if column == "excess" else ("ci_low", "ci_high")
    verdict = "it matters" if low[ends[1]] < high[ends[0]] else "no difference can be told"
    text = [_stated(row, column, ends, f"at {_name(row)}") for row in (low, high)]
    label = "excess persistence" if column == "excess" else "persistence"
    return f"{what}: {verdict}; {label} lies between {text[0]} and {text[1]}."


def _stated(row, column: str, ends: tuple[str, str], where: str) -> str:
    """A share with its interval, where it was found, and what the excess there is made of."""
    low, high = ends
    parts = ", ".join(f"{name} {100 * row[name]:.1f} %" for name in ("observed", "ceiling", "null"))
    return f"{100 * row[column]:.0f} % [{100 * row[low]:.0f}, {100 * row[high]:.0f}] {where} ({parts})"


def _name(row) -> str:
    return row["x"] if isinstance(row["x"], str) else f"{row['x']:.3g}"


def answer_initialization(frame: pd.DataFrame) -> str:
    """One sentence: on how many edges the two arms' intervals are apart, and the edge where they differ most."""
    rows = frame.pivot(index="edge", columns="x")
    change = rows["excess"]["shared"] - rows["excess"]["independent"]
    apart = ((rows["excess_low"]["shared"] > rows["excess_high"]["independent"])
             | (rows["excess_high"]["shared"] < rows["excess_low"]["independent"]))
    edge = change.abs().idxmax()
    arms = frame[frame["edge"] == edge].set_index("x")
    ends = [_stated(arms.loc[arm], "excess", EXCESS, f"with {arm}") for arm in ("independent", "shared")]
    return (f"Shared initialization: excess persistence differs beyond its intervals on {apart.sum()} of {len(rows)} "
            f"edges, most on {edge}, from {ends[0]} to {ends[1]} initial weights; "
            f"{100 * rows['same_index']['shared'].mean():.0f} % of the shared arm's pairs have the same index.")
