"""What the weights say of a match, beside a seed ceiling and nulls of their own (notebook 10).

The models are fine-tuned from one base and merged from each other, so that MLP neuron k is the same neuron in all of
them (`same_neurons`), and weights of independently seeded SAEs can be compared. That common basis also confounds: a
latent that is one neuron, of either sign, has nearly the same decoder in every SAE.
"""

from collections import defaultdict
from functools import cache, lru_cache

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from unifeat import lm, matching, sae
from unifeat.lineage.run import Run
from unifeat.lm import logit_lens
from unifeat.matching import bootstrap
from unifeat.matching.comparison import Comparison
from unifeat.sae import features
from unifeat.studies import ablation, baselines, pair_agreement, persistence, sae_transfer, substitution
from unifeat.studies.shares import number
from unifeat.support import tables

VERDICTS = ("decoder", "encoder", "logits")
ROWS = (("r", "r"), ("decoder", "decoder"), *(("r", verdict) for verdict in VERDICTS))  # matched by, verdict
FEATURES = ("all", "beyond one neuron")
NULLS, UNTRAINED = ("strangers", "rotated", "neurons"), "untrained"
COLUMNS = ["edge", "features", "share", "matched_by", "verdict", "observed", "ci_low", "ci_high", "ceiling",
           "ceiling_low", "ceiling_high", *NULLS, UNTRAINED, "null", "excess", "excess_low", "excess_high"]


def same_neurons(a, b) -> float:
    """Share of MLP neurons of model `b` whose output weights lie nearest, by cosine, to those of the same one of `a`.

    1 where both have one basis of neurons, 1 / d_mlp by chance.
    """
    x, y = (torch.nn.functional.normalize(logit_lens.residual(model, torch.eye(width)).detach(), dim=1)
            for model, width in ((model, lm.describe(model)["d_mlp"]) for model in (a, b)))
    return float(((x @ y.T).argmax(0) == torch.arange(len(y))).float().mean())


def unit(x: torch.Tensor, gram: torch.Tensor | None = None) -> torch.Tensor:
    """Rows of x (n, d) at unit length, or with images x A of unit length, gram (d, d) being A A^T.

    >>> x = torch.tensor([[3.0, 4.0]]).double()
    >>> unit(x).tolist(), unit(x, torch.eye(2).double() / 4).tolist()
    ([[0.6, 0.8]], [[1.2, 1.6]])
    """
    return x / ((x if gram is None else x @ gram) * x).sum(1, keepdim=True).sqrt()


def shares(run: Run) -> pd.DataFrame:
    """weights.csv: how many matches reach tau by each verdict, per edge and row of ROWS, with ceiling and nulls.

    matched_by: what made the one-to-one pairs (Hungarian): r of the activations, or the cosine of the decoders alone.
    verdict: r, decoder or encoder (cosines), or logits (r of the two logit effects). Pairs matched by their verdict
    are counted as a share of the child's live features, others as a share of the pairs.
    features: all of the child's, or those beyond one neuron (no neuron's axis at a cosine of tau to the decoder) and
    their share. ceiling: the same between each two SAEs of the child's own model. strangers: partners permuted among
    the pairs (r: rows permuted within their token, all features). rotated, neurons: the child's dictionary turned by a
    random rotation, or its neurons permuted, and then the best match among all live features of the parent. untrained:
    in the parent's place the SAE of a model that was never trained. null: the greatest of strangers, rotated and
    neurons, over which the excess is; where ceiling and null nearly meet, as the encoder's do, it says little. Means
    over pairs of different seeds; `rotated` and `untrained` are of the first.

    Intervals (95 %): the child's features are drawn with replacement, their partners stay, and all columns of a row
    share the draw. Neither text (as in persistence.csv), nor SAE seeds, nor language models are drawn.
    """
    def build(folder):
        weights = _Weights(run)
        tables.write(folder, [row for edge in run.lineage.edges for row in _rows(weights, edge)], COLUMNS)

    inputs = [*(run.feature_stage(name) for name in run.lineage.names), baselines.random_saes(run)]
    return tables.read(run.stage("weights", build, [run.lineage.comparison, run.lineage.edges], inputs))


def prepare(run: Run) -> None:
    """Make all that notebook 10 shows ready, several pieces at a time."""
    pairs, b = substitution.calls(run), run.lineage.sae.seeds[1]
    persistence.ready(run, [(sae_transfer.swap,), (shares,),
                            *((ablation.causal, *pair) for pair in pairs if pair[1][1] == b),
                            *((substitution.substitution, *pair) for pair in pairs)], "verdicts")


def _rows(weights: "_Weights", edge: tuple[str, str]) -> list[dict]:
    """The rows of one edge."""
    p, rows = weights.run.lineage.comparison, []
    found, permuted = _values(weights, edge)
    beyond = {seed: weights.beyond((edge[1], seed)) for seed in weights.run.lineage.sae.seeds}
    rng = np.random.default_rng(p.seed)
    draws = {seed: np.vstack([np.ones(len(mask)), rng.multinomial(len(mask), np.full(len(mask), 1 / len(mask)),
                                                                  p.bootstrap)]) for seed, mask in beyond.items()}
    for group in FEATURES:
        kept = {seed: mask | (group == "all") for seed, mask in beyond.items()}
        for row in ROWS:
            got = {kind: share(found[kind, row], kept, draws, p.tau)
                   for kind in ("observed", "ceiling", *NULLS, UNTRAINED)}
            if row[1] == "r":
                got["strangers"] = (permuted, np.full(p.bootstrap, permuted))
            rows.append(dict(edge=" → ".join(edge), features=group, matched_by=row[0], verdict=row[1],
                             share=np.mean([mask.mean() for mask in kept.values()])) | _bounded(got))
    return rows


def _bounded(got: dict) -> dict:
    """Columns of a row from {kind: (share, resampled shares)}."""
    null = max(NULLS, key=lambda kind: np.nan_to_num(got[kind][0], nan=-1))
    (observed, a), (ceiling, b), (floor, c) = (got[kind] for kind in ("observed", "ceiling", null))
    ends = [*bootstrap.interval(a, observed), *bootstrap.interval(b, ceiling),
            *bootstrap.interval(matching.excess(a, b, c), bounds=(-np.inf, np.inf))]
    names = ("ci_low", "ci_high", "ceiling_low", "ceiling_high", "excess_low", "excess_high")
    return ({kind: value for kind, (value, _) in got.items()} | dict(zip(names, ends, strict=True))
            | dict(null=floor, excess=float(matching.excess(observed, ceiling, floor))))


def share(parts: list, kept: dict, draws: dict, tau: float) -> tuple[float, np.ndarray]:
    """Share of features with a value >= tau, mean over parts, and the same on resamples of the features.

    parts: [(seed, values (n,)), ...], NaN where a feature does not count; kept: {seed: mask (n,)}, the features that
    are looked at; draws: {seed: how often each is drawn (1 + resamples, n)}, first each once. NaN without parts.
    """
    every = [np.full(len(next(iter(draws.values()))), np.nan)] if not parts else []
    for seed, values in parts:
        counted = (kept[seed] & ~np.isnan(values)).astype(float)
        with np.errstate(invalid="ignore"):
            every.append(draws[seed] @ (counted * (values >= tau)) / (draws[seed] @ counted))
    mean = np.mean(every, axis=0)
    return mean[0], mean[1:]


def _values(weights: "_Weights", edge: tuple[str, str]) -> tuple[dict, float]:
    """What the child's live features have: {(kind, row): [(child's seed, values (n,)), ...]}, and r's permuted null."""
    run, (parent, child), out, null = weights.run, edge, defaultdict(list), []

    def add(kind, found, which, side=1):
        for row, (at, values) in found.items():
            every = np.full(len(weights.live(which)), -1.0 if row[0] == row[1] else np.nan)
            every[at[:, side]] = values
            out[kind, row].append((which[1], every))

    pairs = [((parent, a), (child, b)) for a, b in persistence.seed_pairs(run, "controlled")]
    for position, (a, b) in enumerate(pairs):
        one = run.compare(a, b)
        found, strange = weights.pairs(a, b, one.table)
        add("observed", found, b)
        add("strangers", strange, b)
        for kind in NULLS[2 if position else 1:]:
            add(kind, weights.best(a, b, found, kind), b)
        null.append(one.table["null.one_to_one.child"][number(run.lineage.comparison.tau)])
    for one, found in weights.twins(child):
        add("ceiling", found, one.a, 0)
        add("ceiling", found, one.b, 1)
    add(UNTRAINED, weights.pairs((UNTRAINED, 0), b := pairs[0][1], baselines.random(run, b))[0], b)
    return out, float(np.mean(null))


class _Weights:
    """Weights of the live features of a run's SAEs and of the untrained model's, one-to-one pairs and nulls of them.

    An SAE is (model, seed), as elsewhere; (UNTRAINED, 0) is the untrained model's.
    """

    def __init__(self, run: Run):
        self.run, p = run, run.lineage
        models = {name: run.model(name) for name in run.lineage.names}
        models[UNTRAINED] = run.untrained()
        folder = baselines.random_saes(run).folder
        self.saes = {(name, one.seed): one for name in run.lineage.names for one in run.saes(name)}
        self.saes[UNTRAINED, 0] = sae.load(folder / "sae", models[UNTRAINED])
        self.random = np.flatnonzero(features.fires(sparse.load_npz(folder / "features.npz")) >= p.comparison.min_fires)
        axes = torch.eye(self.saes[UNTRAINED, 0].w_dec.shape[1])
        effects = {name: pair_agreement.logit_effects(model, axes, p.sae.hook) for name, model in models.items()}
        effects = {name: effect - effect.mean(1, keepdim=True) for name, effect in effects.items()}
        self.gram = cache(lambda a, b: effects[a] @ effects[b].T)  # of every two models once
        turn, order = baselines.rotation(len(axes), p.comparison.seed), np.random.default_rng(p.comparison.seed)
        self.turns = dict(rotated=turn, neurons=axes[order.permutation(len(axes))])

    def live(self, which: tuple[str, int]) -> np.ndarray:
        return self.random if which[0] == UNTRAINED else self.run.live(*which)

    def beyond(self, which: tuple[str, int]) -> np.ndarray:
        """Which live features are not one neuron."""
        largest = unit(self.saes[which].w_dec[self.live(which)]).abs().amax(1)
        return (largest < self.run.lineage.comparison.tau).numpy()

    def sides(self, a: tuple[str, int], b: tuple[str, int], verdict: str, turn: str = "") -> tuple:
        """Rows x (n_a, d) and y (n_b, d) of which x_i y_j is the verdict, b's dictionary turned first."""
        x, y = ((one.w_enc if verdict == "encoder" else one.w_dec)[self.live(which)]
                for one, which in ((self.saes[a], a), (self.saes[b], b)))
        y = y @ self.turns[turn] if turn else y
        if verdict != "logits":
            return unit(x), unit(y)
        (left, _), (right, _) = a, b
        return unit(x, self.gram(left, left)) @ self.gram(left, right), unit(y, self.gram(right, right))

    def pairs(self, a: tuple[str, int], b: tuple[str, int], table: dict) -> tuple[dict, dict]:
        """One-to-one pairs and their values, {row: (pairs (n, 2), values (n,))}, and the same with strangers.

        table: the arrays of a `Comparison`.
        """
        found, strange = {("r", "r"): (table["assigned"], table["r_assigned"])}, {}
        for verdict in VERDICTS:
            x, y = self.sides(a, b, verdict)
            ways = dict(r=table["assigned"])
            if verdict == "decoder":
                ways["decoder"] = matching.match((x @ y.T).numpy()).assigned
            for by, at in ways.items():
                i, j = at.T
                other = np.random.default_rng(self.run.lineage.comparison.seed).permutation(i)
                found[by, verdict] = (at, (x[i] * y[j]).sum(1).numpy())
                strange[by, verdict] = (at, (x[other] * y[j]).sum(1).numpy())
        return found, strange

    @lru_cache  # noqa: B019 - both edges into the merge have its ceiling
    def twins(self, name: str) -> list[tuple[Comparison, dict]]:
        """The comparisons of each two SAEs of a model, with their pairs."""
        return [(one, self.pairs(one.a, one.b, one.table)[0]) for one in self.run.twins(name)]

    def best(self, a: tuple[str, int], b: tuple[str, int], found: dict, turn: str) -> dict:
        """The best value of each child's feature in `found` among all of the parent's, b's dictionary turned."""
        best = {}
        for verdict in VERDICTS:
            x, y = self.sides(a, b, verdict, turn)
            best[verdict] = (x @ y.T).amax(0).numpy()
        every = np.tile(np.arange(len(self.live(b)))[:, None], 2)
        rows = {row: every if row[0] == row[1] else found[row][0] for row in ROWS[1:]}
        return {row: (at, best[row[1]][at[:, 1]]) for row, at in rows.items()}


def answer(frame: pd.DataFrame, edge: str = "") -> str:
    """One sentence on an edge of weights.csv, the first where `edge` is "": what decoders and activations say of all
    features and beyond neurons."""
    edge = edge or next(iter(frame["edge"]), "")
    if not edge:
        return "This lineage has no edge."
    rows = frame[frame["edge"] == edge].set_index(["features", "matched_by", "verdict"])

    def told(row):
        return (f"{row['observed']:.1%} [{row['ci_low']:.1%}, {row['ci_high']:.1%}] (ceiling {row['ceiling']:.1%}, "
                f"null {row['null']:.1%})")

    own, r = rows.loc["all", "decoder", "decoder"], rows.loc["all", "r", "r"]
    rest, also = (rows.loc[FEATURES[1], by, by] for by in ("decoder", "r"))
    return (f"{edge}: by decoder cosine {told(own)} of the child's features have a one-to-one partner, by activations "
            f"{told(r)}; of the {rest['share']:.0%} that are not one neuron, {told(rest)} and {told(also)}.")
