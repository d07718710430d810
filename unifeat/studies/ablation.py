"""Matched features taken out of their models: do the same predictions move?"""


import numpy as np
import pandas as pd
import torch

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lm import logit_lens
from unifeat.studies.pair_agreement import pairs, pearson_rows
from unifeat.support import tables

CAUSAL_COLUMNS = ["parent", "child", "r", "agreement", "random"]


def causal(run: Run, parent: tuple[str, int], child: tuple[str, int], count: int = 120, tokens: int = 32,
           ) -> pd.DataFrame:
    """Do matched features move the same predictions? `count` one-to-one pairs, evenly spread over r.

    Each feature is taken out of its own model (x - f_i d_i / s) at `tokens` tokens on which either of the pair fires;
    agreement: Pearson's r of the logit changes (centred per token) of both models over tokens x vocabulary;
    random: the same between the parent's feature and another pair's child feature, taken out at the same tokens at
    the mean of its activations. In a one-layer model a feature acts on its own token alone, so this is exact; in a
    deeper one it is the direct effect. Two SAEs of one model are compared in the same way: the ceiling of its edges.
    """
    def build(folder):
        found = pairs(run, run.compare(parent, child)).sort_values("r", kind="stable")
        found = found.iloc[np.linspace(0, max(len(found) - 1, 0), min(count, len(found))).round().astype(int)]
        one, two = _Ablation(run, parent), _Ablation(run, child)
        rng, rows = np.random.default_rng(run.lineage.comparison.seed), []
        other = rng.permutation(len(found))
        for row, stranger in zip(found.itertuples(), found["j"].to_numpy()[other], strict=True):
            fires = np.union1d(one.fires(row.i), two.fires(row.j))
            at = np.sort(rng.choice(fires, min(tokens, len(fires)), replace=False))
            effect = one.effect(row.i, at)
            rows.append(dict(parent=row.i, child=row.j, r=row.r, agreement=_flat_r(effect, two.effect(row.j, at)),
                             random=_flat_r(effect, two.effect(stranger, at, mean=True))))
        tables.write(folder, rows, CAUSAL_COLUMNS)

    names = dict.fromkeys((parent[0], child[0]))
    config = [run.lineage.comparison, count, tokens]
    return tables.read(run.stage(f"causal-{parent[0]}{parent[1]}-{child[0]}{child[1]}", build, config,
                                 [run.feature_stage(name) for name in names]))


class _Ablation:
    """The logit changes that taking a feature out of a model makes on tokens of the comparison text."""

    def __init__(self, run: Run, which: tuple[str, int]):
        self.model, self.sae = run.model(which[0]), run.sae(*which)
        self.f = run.features(*which).tocsc()
        self.residual = residuals(self.model, run.comparison_text["blocks"])

    def fires(self, feature: int) -> np.ndarray:
        return self.f.indices[self.f.indptr[feature]:self.f.indptr[feature + 1]]

    def effect(self, feature: int, at: np.ndarray, mean: bool = False) -> torch.Tensor:
        """Change of the logits (tokens, vocab), centred per token, at tokens `at`; with `mean`, at the feature's
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
    handle = logit_lens.final_norm(model).register_forward_pre_hook(lambda _, args: parts.append(args[0]))
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
    moved = residual - f[:, None] * logit_lens.residual(model, direction[None], hook)
    change = logit_lens.unembed(model, moved) - logit_lens.unembed(model, residual)
    return change - change.mean(1, keepdim=True)


def _flat_r(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(pearson_rows(a.reshape(1, -1), b.reshape(1, -1))[0])
