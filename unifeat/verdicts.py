"""Other verdicts on matched features: swapped SAEs, weights, logit effects, and ablation.

A feature i of an SAE with decoder row d_i and scale s adds f_i d_i / s to the activation. Through the MLP's last
projection and the final norm's gain g it moves the logits along the logit effect W_U (g * W_down d_i).
"""

import sys

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from unifeat import comparison, features, flow, lm, matching, readout, sae, tables
from unifeat.comparison import Comparison
from unifeat.profiles import MODELS
from unifeat.stages import Run

SWAP_COLUMNS = ["sae_model", "seed", "model", "l0", "fvu", "ce_recovered_mean", "ce_recovered_zero"]
CAUSAL_COLUMNS = ["parent", "child", "r", "agreement", "random"]
VERDICTS = ("r", "decoder", "encoder", "logits")
CHUNK = 1024  # features whose effects on the whole vocabulary are held at once


def swap(run: Run) -> pd.DataFrame:
    """swap.csv: the first SAE of every model on every model's activations, on held-out text of that model's own kind.

    sae_model, seed: the SAE (the profile's first seed); model: whose activations it reads and replaces; metrics as in
    `sae.evaluate`, those at home taken from saes.csv, which also says how far seeds differ there. The SAE keeps its
    own scale, so this is its plain use on another model. (On text a child has forgotten, another model's SAE may lower
    its loss, and more than everything would be "recovered".)
    """
    seed = run.profile.sae.seeds[0]

    def build(folder):
        rows = []
        for model in MODELS:
            domains, _ = run.mix(model)
            blocks = np.concatenate([run.blocks(d, tokens=run.profile.evaluation.tokens // len(domains))
                                     for d in domains])
            away = [name for name in MODELS if name != model]
            found = dict(zip(away, sae.evaluate([run.sae(name, seed) for name in away], run.model(model), blocks),
                             strict=True)) | {model: run.sae_table(model).set_index("seed").loc[seed].to_dict()}
            rows += [found[name] | dict(sae_model=name, seed=seed, model=model) for name in MODELS]
        tables.write(folder, rows, SWAP_COLUMNS)

    config, inputs = [run.profile.evaluation, seed], [run._sae_metrics(name) for name in MODELS]
    return tables.read(run._make("swap", build, config, inputs, (lm, sae, sys.modules[__name__])))


def cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Cosine of each row of `a` (n, d) with the same row of `b`.

    >>> cosines(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).tolist()
    [0.0]
    """
    return torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=1).numpy()


@torch.inference_mode()
def logit_effects(model, directions: torch.Tensor, hook: str = lm.HOOK) -> torch.Tensor:
    """How directions (n, d) at `hook` move the logits: (n, vocab), the norm's division left out."""
    return readout.logits(model, readout.residual(model, directions.float(), hook))


def pearson_rows(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Pearson's r of each row of `a` (n, m) with the same row of `b`; NaN where a row is constant."""
    a, b = (m.double() - m.double().mean(1, keepdim=True) for m in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).numpy()


def pairs(run: Run, one: Comparison) -> pd.DataFrame:
    """The one-to-one pairs of a comparison with every verdict on them.

    i, j: latents of the parent's and the child's SAE; r: activations; decoder, encoder: cosine of their weights in
    the common basis of MLP neurons; logits: Pearson's r of the two logit effects over the vocabulary.
    """
    i, j = one.live_a[one.table["assigned"][:, 0]], one.live_b[one.table["assigned"][:, 1]]
    a, b = (run.sae(*which) for which in (one.a, one.b))
    models = [run.model(name) for name, _ in (one.a, one.b)]
    logits = [pearson_rows(logit_effects(models[0], a.w_dec[i[k:k + CHUNK]], a.hook),
                           logit_effects(models[1], b.w_dec[j[k:k + CHUNK]], b.hook)) for k in range(0, len(i), CHUNK)]
    return pd.DataFrame(dict(i=i, j=j, r=one.table["r_assigned"], decoder=cosines(a.w_dec[i], b.w_dec[j]),
                             encoder=cosines(a.w_enc[i], b.w_enc[j]),
                             logits=np.concatenate(logits) if logits else np.zeros(0)))


def agreement(found: pd.DataFrame, tau: float) -> pd.DataFrame:
    """How far each verdict agrees with the activations' on pairs from `pairs`.

    Per verdict: share of pairs that pass tau; spearman (rank correlation with r); same (share of pairs on which both
    say the same at tau); kappa = (same - chance) / (1 - chance), chance from the two shares (Cohen 1960).
    """
    rows, kept = [], found["r"] >= tau
    for name in VERDICTS[1:]:
        yes = found[name] >= tau
        same, chance = (yes == kept).mean(), yes.mean() * kept.mean() + (1 - yes.mean()) * (1 - kept.mean())
        rows.append(dict(verdict=name, pairs=len(found), share_r=kept.mean(), share=yes.mean(),
                         spearman=spearmanr(found["r"], found[name]).statistic if len(found) > 2 else np.nan,
                         same=same, kappa=(same - chance) / (1 - chance) if chance < 1 else np.nan))
    return pd.DataFrame(rows)


def partners(run: Run, one: Comparison, tau: float) -> dict[str, float]:
    """How often activations and decoders choose the same partner, of the child's features with a best match at tau.

    observed: share of these features whose best match by activation is also the best by decoder cosine, both looked
    up among the parent's live features; ceiling: the same between each two SAEs of the child's model; null: with the
    decoder's choice of another of these features. NaN where no feature reaches tau.
    """
    observed, null = _same_partner(run, one, tau)
    return dict(observed=observed, ceiling=np.mean([_same_partner(run, twin, tau)[0]
                                                    for twin in flow.twins(run, one.b[0])]), null=null)


def _same_partner(run, one, tau) -> tuple[float, float]:
    a, b = (torch.nn.functional.normalize(run.sae(*which).w_dec[live], dim=1)
            for which, live in ((one.a, one.live_a), (one.b, one.live_b)))
    kept = one.table["r_of_b"] >= tau
    best = (b[kept] @ a.T).argmax(1).numpy()
    others = best[np.random.default_rng(run.profile.probe.seed).permutation(len(best))]
    same = [choice == one.table["best_of_b"][kept] for choice in (best, others)]
    return tuple(float(each.mean()) if kept.any() else np.nan for each in same)


def causal(run: Run, parent: tuple[str, int], child: tuple[str, int], count: int = 120, tokens: int = 32,
           ) -> pd.DataFrame:
    """Do matched features move the same predictions? `count` one-to-one pairs, evenly spread over r.

    Each feature is taken out of its own model (x - f_i d_i / s) at `tokens` probe tokens on which either of the pair
    fires; agreement: Pearson's r of the logit changes (centred per token) of both models over tokens x vocabulary;
    random: the same between the parent's feature and another pair's child feature, taken out at the same tokens at
    the mean of its activations. In a one-layer model a feature acts on its own token alone, so this is exact; in a
    deeper one it is the direct effect.
    """
    def build(folder):
        found = pairs(run, run.compare(parent, child)).sort_values("r", kind="stable")
        found = found.iloc[np.linspace(0, max(len(found) - 1, 0), min(count, len(found))).round().astype(int)]
        one, two = _Ablation(run, parent), _Ablation(run, child)
        rng, rows = np.random.default_rng(run.profile.probe.seed), []
        other = rng.permutation(len(found))
        for row, stranger in zip(found.itertuples(), found["j"].to_numpy()[other], strict=True):
            fires = np.union1d(one.fires(row.i), two.fires(row.j))
            at = np.sort(rng.choice(fires, min(tokens, len(fires)), replace=False))
            effect = one.effect(row.i, at)
            rows.append(dict(parent=row.i, child=row.j, r=row.r, agreement=_flat_r(effect, two.effect(row.j, at)),
                             random=_flat_r(effect, two.effect(stranger, at, mean=True))))
        tables.write(folder, rows, CAUSAL_COLUMNS)

    names = dict.fromkeys((parent[0], child[0]))
    config = [run.profile.probe, count, tokens]
    return tables.read(run._make(f"causal-{parent[0]}{parent[1]}-{child[0]}{child[1]}", build, config,
                                 [run._feature_artefact(name) for name in names],
                                 (lm, sae, matching, comparison, features, readout, sys.modules[__name__])))


class _Ablation:
    """The logit changes that taking a feature out of a model makes on probe tokens."""

    def __init__(self, run: Run, which: tuple[str, int]):
        self.model, self.sae = run.model(which[0]), run.sae(*which)
        self.f = run.features(*which).tocsc()
        self.residual = residuals(self.model, run.probe["blocks"])

    def fires(self, feature: int) -> np.ndarray:
        return self.f.indices[self.f.indptr[feature]:self.f.indptr[feature + 1]]

    def effect(self, feature: int, at: np.ndarray, mean: bool = False) -> torch.Tensor:
        """Change of the logits (tokens, vocab), centred per token, at probe tokens `at`; with `mean`, at the feature's
        mean activation where it fires instead of its own at each token.
        """
        column = self.f[:, [feature]]
        f = np.full(len(at), column.data.mean()) if mean else column.toarray().ravel()[at]
        f = torch.from_numpy(f).float()
        return ablate(self.model, self.residual[at], f, self.sae.w_dec[feature] / self.sae.scale,
                      self.sae.hook)


@torch.inference_mode()
def residuals(model, blocks: np.ndarray, batch: int = 32) -> torch.Tensor:
    """The residual stream before the final norm, (kept tokens, d_model), special tokens (id 0) left out."""
    tokens, parts = torch.from_numpy(np.asarray(blocks).astype(np.int64)), []
    handle = readout.final_norm(model).register_forward_pre_hook(lambda _, args: parts.append(args[0]))
    try:
        for part in tokens.split(batch):
            with lm.autocast():
                model.to(lm.device()).base_model(input_ids=part.to(lm.device()), use_cache=False)
            parts[-1] = parts[-1][part.to(lm.device()) > 0].float().cpu()
    finally:
        handle.remove()
    model.cpu()
    return torch.cat(parts)


@torch.inference_mode()
def ablate(model, residual: torch.Tensor, f: torch.Tensor, direction: torch.Tensor, hook: str = lm.HOOK,
           ) -> torch.Tensor:
    """Centred logit changes (tokens, vocab) when f (tokens,) times `direction` (d,) leaves the activation at `hook`."""
    moved = residual - f[:, None] * readout.residual(model, direction[None], hook)
    change = readout.unembed(model, moved) - readout.unembed(model, residual)
    return change - change.mean(1, keepdim=True)


def _flat_r(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(pearson_rows(a.reshape(1, -1), b.reshape(1, -1))[0])
