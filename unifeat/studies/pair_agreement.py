"""Do weights and logit effects agree with activations on which features are the same?"""

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lm import logit_lens
from unifeat.matching.comparison import Comparison

VERDICTS = ("r", "decoder", "encoder", "logits")
COLUMNS = ["verdict", "pairs", "share_r", "share", "spearman", "same", "kappa"]
CHUNK = 1024  # features whose effects on the whole vocabulary are held at once


def cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Cosine of each row of `a` (n, d) with the same row of `b`.

    >>> cosines(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).tolist()
    [0.0]
    """
    return torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=1).numpy()


@torch.inference_mode()
def logit_effects(model, directions: torch.Tensor, hook: str = lm.HOOK) -> torch.Tensor:
    """How directions (n, d) at `hook` move the logits: (n, vocab), the norm's division left out."""
    return logit_lens.logits(model, logit_lens.residual(model, directions.float(), hook))


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
                                                    for twin in run.twins(one.b[0])]), null=null)


def _same_partner(run, one, tau) -> tuple[float, float]:
    a, b = (torch.nn.functional.normalize(run.sae(*which).w_dec[live], dim=1)
            for which, live in ((one.a, one.live_a), (one.b, one.live_b)))
    kept = one.table["r_of_b"] >= tau
    best = (b[kept] @ a.T).argmax(1).numpy()
    others = best[np.random.default_rng(run.lineage.comparison.seed).permutation(len(best))]
    same = [choice == one.table["best_of_b"][kept] for choice in (best, others)]
    return tuple(float(each.mean()) if kept.any() else np.nan for each in same)
