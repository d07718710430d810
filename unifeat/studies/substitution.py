"""Does the parent's feature do the child's feature's job? The substitution test: persistence by function.

In the child's model a feature's own contribution f_j d_j / s is taken out, and its partner's, as the parent's SAE reads
it in the parent's model on the same token, is put in its place. Where the predictions come back, the two do the same.
"""

import numpy as np
import pandas as pd
import torch

from unifeat import matching
from unifeat.lineage.run import Run
from unifeat.lm import logit_lens
from unifeat.matching.comparison import Comparison
from unifeat.studies import ablation, pair_agreement, persistence
from unifeat.support import tables

RECOVERED = 0.5  # least recovered share: from here on the predictions lie nearer to the whole feature than to none
KEPT = ["parent", "child", "r", "logits", "alpha", "kl_removed", "kl_partner", "kl_next_best", "kl_random",
        "ce_removed", "ce_partner", "recovered", "recovered_next_best", "recovered_random", "weight", "live",
        "functional"]
COLUMNS = ["edge", "kind", "seed", *KEPT]
ARROW = " → "


def calls(run: Run) -> list[tuple]:
    """(parent, child), each (model, seed), of all that `table` measures: edges, and both ways between seed twins."""
    a, b = persistence.seed_pairs(run, "controlled")[0]
    children = dict.fromkeys(child for _, child in run.lineage.edges)
    return [*(((parent, a), (child, b)) for parent, child in run.lineage.edges),
            *(((child, x), (child, y)) for child in children for x, y in ((a, b), (b, a)))]


def table(run: Run) -> pd.DataFrame:
    """substitution.csv: the drawn pairs of every edge, and of two SAEs of every child's model (kind `twins`).

    edge: "parent → child", of twins "child → child"; seed: of the child's SAE; the rest as in `substitution`. What
    has no one-to-one pair has no row.
    """
    frames = []
    for parent, child in calls(run):
        frame = substitution(run, parent, child)
        kind = "twins" if parent[0] == child[0] else "edge"
        frames.append(frame.assign(edge=f"{parent[0]}{ARROW}{child[0]}", kind=kind, seed=child[1])[COLUMNS])
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def substitution(run: Run, parent: tuple[str, int], child: tuple[str, int], count: int = 120, tokens: int = 32,
                 ) -> pd.DataFrame:
    """The parent's features in the place of the child's, in the child's model: at most `count` one-to-one pairs.

    Half of the pairs have r >= tau, half less (see `draw`). Of the tokens on which the child's feature fires, half
    set the scale alpha of what is put in (see `halves` and `fit`), and at most `tokens` of the others measure. alpha
    is 1 where the partner writes as much as it does in its own model.

    kl_*: KL(untouched || changed) of the next-token distributions, mean nats per token, with the feature taken out
    (removed) and with another one in its place, scaled by its own alpha: its partner, the parent's best other live
    feature by r (next_best), or the partner of another pair (random). ce_*: change of the loss on the true next token,
    nats. recovered_* = 1 - kl_* / kl_removed: 1 where it does the feature's job, 0 where it is no better than nothing,
    below 0 where it is worse; NaN for a feature without effect. functional: the partner recovers RECOVERED and more
    than the other two. weight: how many of the child's pairs this one stands for; live: the child's live features.

    Only tokens on which the child's feature fires are asked. Where the partner fires alone is what r sees, so `joint`
    in functional.csv wants both. In a one-layer model a feature acts on its own token alone, and this is exact; in a
    deeper one it is the direct effect, past all later layers.
    """
    def build(folder):
        rng = np.random.default_rng(run.lineage.comparison.seed)
        one, weights = draw(_compared(run, parent, child), run.lineage.comparison.tau, count, rng)
        found, rows = pair_agreement.pairs(run, one), []
        if len(found):
            bench, next_best = _Bench(run, parent, child), runners_up(run, one)
            strangers = np.roll(found["i"], rng.integers(1, len(found))) if len(found) > 1 else [-1]
            for pair, weight, *others in zip(found.itertuples(), weights, next_best, strangers, strict=True):
                rows.append(dict(parent=pair.i, child=pair.j, r=pair.r, logits=pair.logits, weight=weight,
                                 live=len(one.live_b)) | bench.measure(pair.j, [pair.i, *others], tokens, rng))
        tables.write(folder, rows, KEPT)

    config, names = [run.lineage.comparison, count, tokens], dict.fromkeys((parent[0], child[0]))
    return tables.read(run.stage(f"substitution-{parent[0]}{parent[1]}-{child[0]}{child[1]}", build, config,
                                 [run.feature_stage(name) for name in names]))


def _compared(run: Run, a: tuple[str, int], b: tuple[str, int]) -> Comparison:
    """run.compare(a, b); of twins in the other order than the lineage's, the stored comparison turned round."""
    seeds = list(run.lineage.sae.seeds)
    if a[0] != b[0] or seeds.index(a[1]) < seeds.index(b[1]):
        return run.compare(a, b)
    one = run.compare(b, a)
    return Comparison(a, b, one.live_b, one.live_a, dict(assigned=one.table["assigned"][:, ::-1],
                                                         r_assigned=one.table["r_assigned"]))


def draw(one: Comparison, tau: float, count: int, rng: np.random.Generator) -> tuple[Comparison, np.ndarray]:
    """At most `count` one-to-one pairs, and how many each stands for (pairs,).

    Half are drawn of those with r >= tau and half of the others; where one stratum has too few, all of it, and more
    of the other. A pair stands for its stratum's size over the number drawn of it, so that weighted sums estimate sums
    over all pairs without bias (Horvitz and Thompson 1952).
    """
    high = one.table["r_assigned"].round(6) >= tau  # as the table keeps r
    above, below = np.flatnonzero(high), np.flatnonzero(~high)
    first = min(len(above), max(count // 2, count - len(below)))
    at, weights = [], []
    for stratum, size in ((above, first), (below, min(len(below), count - first))):
        at.append(np.sort(rng.choice(stratum, size, replace=False)))
        weights.append(np.full(size, len(stratum) / max(size, 1)))
    at = np.concatenate(at)
    kept = {name: one.table[name][at] for name in ("assigned", "r_assigned")}
    return Comparison(one.a, one.b, one.live_a, one.live_b, kept), np.concatenate(weights)


def runners_up(run: Run, one: Comparison) -> np.ndarray:
    """Per pair of `one` the parent's live latent that fires most alike (r), its partner left out; -1 without any."""
    i, j = one.table["assigned"].T
    r = matching.correlate(run.features(*one.a)[:, one.live_a], run.features(*one.b)[:, one.live_b[j]])
    r = np.nan_to_num(r, nan=-1.0)
    r[i, np.arange(len(j))] = -2
    return np.where(r.max(0) > -2, one.live_a[r.argmax(0)], -1)


def halves(documents: np.ndarray) -> np.ndarray:
    """Which of a feature's tokens set the scale (True), and which measure, by their documents (tokens,).

    Every other document, since the first half of all would be that of the first domains; of one document alone, its
    first half.

    >>> halves(np.array([3, 3, 7, 9])).tolist(), halves(np.array([3, 3])).tolist()
    ([True, True, False, True], [True, False])
    """
    rank = np.unique(documents, return_inverse=True)[1]
    return rank % 2 == 0 if rank.max(initial=0) else np.arange(len(rank)) < len(rank) // 2


def fit(f: torch.Tensor, a: torch.Tensor, g: torch.Tensor, b: torch.Tensor) -> float:
    """Scale alpha >= 0 at which g (tokens,) times b (d,) comes nearest to f (tokens,) times a (d,), in least squares.

        alpha = sum_t <f_t a, g_t b> / sum_t |g_t b|^2

    0 where the partner never fires, and where it writes the opposite: with a negative scale that would pass for the
    same job.

    >>> one, two = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    >>> fit(one, one, two, one), fit(one, one, two, -one)
    (0.5, 0.0)
    """
    size = float((g @ g) * (b @ b))
    return max(0.0, float((f @ g) * (a @ b)) / size) if size > 0 else 0.0


@torch.inference_mode()
def effects(model, residual: torch.Tensor, written: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """What k changes do to the next-token distribution: (2, k), KL(untouched || changed) and change of the loss.

    residual (tokens, d_model): the stream before the final norm; written (k, tokens, d_model): what each change adds;
    targets (tokens,): the next token, -1 where there is none. Nats, means over tokens.
    """
    before, has = logit_lens.unembed(model, residual).double().log_softmax(1), targets >= 0
    out = []
    for each in written:
        apart = before - logit_lens.unembed(model, residual + each).double().log_softmax(1)
        loss = apart.gather(1, targets.clamp(min=0)[:, None])[has].mean()
        out.append(((before.exp() * apart).sum(1).mean(), loss))
    return np.array(out, float).T


class _Bench:
    """The child's model on the comparison text, with its features and the parent's."""

    def __init__(self, run: Run, parent: tuple[str, int], child: tuple[str, int]):
        text = run.comparison_text
        after = np.pad(np.asarray(text["blocks"])[:, 1:], ((0, 0), (0, 1)), constant_values=-1)
        self.targets = torch.from_numpy(after[text["block"], text["position"]].astype(np.int64))
        self.documents, self.model = text["document"], run.model(child[0])
        self.residual = ablation.residuals(self.model, text["blocks"])
        self.saes = [run.sae(*which) for which in (parent, child)]
        self.f = [run.features(*which).tocsc() for which in (parent, child)]

    def feature(self, side: int, latent: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations (tokens,) and what one unit of them writes at the hook (d,); side: 0 the parent, 1 the child."""
        one = self.saes[side]
        return torch.from_numpy(self.f[side][:, [latent]].toarray().ravel()), one.w_dec[latent] / one.scale

    def measure(self, j: int, partners: list[int], tokens: int, rng: np.random.Generator) -> dict:
        """The columns of one pair; partners: the parent's latents put in j's place (-1: nothing)."""
        f, own = self.feature(1, j)
        fires = np.flatnonzero(f)
        first = halves(self.documents[fires])
        scale, rest = fires[first], fires[~first]
        at = np.sort(rng.choice(rest, min(tokens, len(rest)), replace=False))
        into, alphas = [torch.zeros(len(at), len(own))], []
        for latent in partners:
            g, written = self.feature(0, latent) if latent >= 0 else (torch.zeros_like(f), own)
            alphas.append(fit(f[scale].double(), own.double(), g[scale].double(), written.double()))
            into.append(alphas[-1] * g[at, None] * written)
        moved = torch.stack(into) - f[at, None] * own
        kl, ce = effects(self.model, self.residual[at], logit_lens.residual(self.model, moved, self.saes[1].hook),
                         self.targets[at])
        back = 1 - kl[1:] / kl[0] if kl[0] > 0 else np.full(len(partners), np.nan)
        return dict(zip(("kl_removed", "kl_partner", "kl_next_best", "kl_random"), kl, strict=True)) | dict(
            alpha=alphas[0], ce_removed=ce[0], ce_partner=ce[1], recovered=back[0], recovered_next_best=back[1],
            recovered_random=back[2], functional=bool(back[0] >= RECOVERED and back[0] > max(back[1:])))
