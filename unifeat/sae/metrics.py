"""How well SAEs describe a model: sparsity, variance left unexplained, cross-entropy recovered."""

import numpy as np
import torch

from unifeat import lm
from unifeat.sae.model import Sae


@torch.inference_mode()
def evaluate(saes: list[Sae], model, blocks: np.ndarray, batch: int = 32) -> list[dict]:
    """Metrics of SAEs of one hook point on the activations of `model` over `blocks` (n, context), no special tokens.

        FVU = sum ||x - x_hat||^2 / sum ||x - mean x||^2, mean per dimension, sums over all tokens
        CE recovered = (CE_ablated - CE_sae) / (CE_ablated - CE_clean), the activation replaced by its mean,
        by zero, or by the SAE's reconstruction at every token

    Returns per SAE: l0 (mean active latents per token), fvu, ce_recovered_mean, ce_recovered_zero, and
    density (width,), the share of tokens on which each latent fires.
    """
    kept = [part.to(lm.device()) > 0 for part in torch.from_numpy(np.asarray(blocks).astype(np.int64)).split(batch)]
    moments, ablated = _Moments(kept), {}
    hook = saes[0].hook
    with lm.hooked(model, moments.add, hook):
        clean = lm.evaluate(model, blocks, batch=batch)["loss_nats"]
    mean = moments.total / moments.n
    for name, value in (("mean", mean), ("zero", torch.zeros_like(mean))):
        with lm.hooked(model, lambda x, value=value: value.expand_as(x), hook):
            ablated[name] = lm.evaluate(model, blocks, batch=batch)["loss_nats"]
    out = []
    for sae in saes:
        swap = _Reconstruction(sae, kept, mean)
        with lm.hooked(model, swap, hook):
            loss = lm.evaluate(model, blocks, batch=batch)["loss_nats"]
        out.append(swap.result() | {f"ce_recovered_{name}": (ce - loss) / (ce - clean) for name, ce in ablated.items()})
    return out


def axis_cosine(sae: Sae) -> np.ndarray:
    """The greatest cosine, of either sign, of each latent's decoder with an axis of what the SAE reads, (width,).

    At an MLP's activation an axis is a neuron: a latent near 1 is that one neuron, which nearly every SAE finds.
    """
    return torch.nn.functional.normalize(sae.w_dec.float(), dim=1).abs().amax(1).cpu().numpy()


class _Moments:
    """Sum of the activations that pass, special tokens left out; kept: masks (batch, context) in their order."""

    def __init__(self, kept: list[torch.Tensor]):
        self.kept, self.n, self.total = iter(kept), 0, 0.0

    def add(self, x: torch.Tensor) -> None:
        x = x[next(self.kept)].double()
        self.n, self.total = self.n + len(x), self.total + x.sum(0)


class _Reconstruction:
    """Puts an SAE's reconstruction in place of the activations that pass, and measures it on the way."""

    def __init__(self, sae: Sae, kept: list[torch.Tensor], mean: torch.Tensor):
        self.sae, self.kept, self.mean = sae.to(mean.device), iter(kept), mean
        self.n, self.error, self.spread, self.fires = 0, 0.0, 0.0, torch.zeros(sae.width, device=mean.device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        kept, flat = next(self.kept).flatten(), x.flatten(0, 1).float()
        with torch.autocast(x.device.type, enabled=False):  # the language model's context rounds to bfloat16
            f = self.sae.encode(flat)
            back = self.sae.decode(f)
        self.n += int(kept.sum())
        self.error += (flat - back)[kept].square().sum(dtype=torch.float64).item()
        self.spread += (flat[kept] - self.mean).square().sum(dtype=torch.float64).item()
        self.fires += (f[kept] > 0).sum(0)
        return back.view_as(x)

    def result(self) -> dict:
        """L0, FVU and density over the tokens that passed."""
        return dict(l0=self.fires.sum().item() / self.n, fvu=self.error / self.spread,
                    density=(self.fires / self.n).cpu().numpy())
