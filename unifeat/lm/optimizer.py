"""The optimiser of language models: AdamW, or Muon on the matrices of the layers with AdamW on the rest."""

import torch

from unifeat.support.checkpoint import optimizer_tensors, restore_optimizer


class Optimizer:
    """Steps of training at a share of the full learning rates.

    AdamW (Loshchilov & Hutter 2019) on everything; where config.muon > 0 the matrices of the layers go by Muon instead
    (momentum made orthogonal by Newton-Schulz; Jordan et al. 2024) at that rate, scaled to the size of AdamW's steps
    (Liu et al. 2025, arXiv 2502.16982). Vectors (norms) are not decayed.
    """

    def __init__(self, model, config):
        ends = [model.get_output_embeddings(), *(m for m in model.modules() if isinstance(m, torch.nn.Embedding))]
        outer = {id(p) for end in ends for p in end.parameters()}
        inner = [p for p in model.parameters() if config.muon and p.ndim == 2 and id(p) not in outer]
        ours = {id(p) for p in inner}
        rest = [p for p in model.parameters() if id(p) not in ours]
        groups = [dict(params=[p for p in rest if p.ndim > 1], weight_decay=config.weight_decay),
                  dict(params=[p for p in rest if p.ndim <= 1], weight_decay=0.0)]
        self.parts = [torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)]
        if inner:
            self.parts.append(torch.optim.Muon(inner, lr=config.muon, weight_decay=config.weight_decay,
                                               adjust_lr_fn="match_rms_adamw"))
        self.rates = [config.lr, config.muon]

    def step(self, share: float) -> None:
        """One step at `share` of the full rates; the gradients are then gone."""
        for part, rate in zip(self.parts, self.rates, strict=False):
            for group in part.param_groups:
                group["lr"] = rate * share
            part.step()
            part.zero_grad()

    def tensors(self) -> dict[str, torch.Tensor]:
        """The moments, by name."""
        return {f"{number}.{name}": value for number, part in enumerate(self.parts)
                for name, value in optimizer_tensors(part).items()}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put the moments of `tensors` back; other names in it are passed over."""
        for number, part in enumerate(self.parts):
            restore_optimizer(part, {name.removeprefix(f"{number}."): value for name, value in tensors.items()
                                     if name.startswith(f"{number}.optimizer.")})
