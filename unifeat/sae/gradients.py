"""Gradients of a sparse autoencoder's loss, written out, so that no float32 latents are ever held."""

import numpy as np
import torch
from scipy import sparse

from unifeat import lm
from unifeat.sae.model import ROWS, Sae, act
from unifeat.sae.topk import topk
from unifeat.support.parallel import spread

WIDE = {True: 100, False: 12}  # by lm.tiles: latents per active one from which sums over the active ones are faster


def wide(width: int, k: int) -> bool:
    """Whether an SAE has so many latents per active one that a CPU does better with the active ones alone."""
    return width >= WIDE[lm.tiles()] * k


def batch_threshold(z: torch.Tensor, k: int) -> float:
    """The B k-th largest of the pre-activations z (B, width), at least 0.

    >>> batch_threshold(torch.tensor([[5.0, 4.0], [1.0, 0.5]]), 1)
    4.0
    """
    values, count = z.detach().flatten(), k * len(z)
    if z.is_cuda:  # numpy finds it sooner than torch, but not on the far side of a bus
        return max(0.0, values.topk(count, sorted=False).values.min().item())
    return max(0.0, float(np.partition(values.float().numpy(), -count)[-count]))


def gradients(sae: Sae, x: torch.Tensor, l1: float, dead: torch.Tensor | None, aux: float, k: int | None = None):
    """Gradients of the loss on a batch x (B, d), at most ROWS of it at a time.

        loss = mean_b ||s x_b - (W_dec^T f_b + b_dec)||^2 + l1 * mean_b sum_i f_bi + aux * AuxK

    AuxK (Gao et al. 2024, arXiv 2406.04093, section A.2) makes the `dead` latents (indices) reconstruct the error
    that is left; here on the first ROWS activations of a batch. k: active latents in this step (None: those of `sae`).
    Returns (gradients in the order of `Sae.parameters`, fired (width,) bool, mean squared error, latents of the first
    ROWS, of a wide TopK SAE the active ones alone).
    """
    dtype, batch, k = lm.compute_dtype(), len(x), sae.k if k is None else k
    few = sae.kind == "topk" and not x.is_cuda and wide(sae.width, k)
    w_enc, bias, w_dec = sae.w_enc.to(dtype), sae.b_enc.to(dtype), sae.w_dec if few else sae.w_dec.to(dtype)

    def one(part):
        number, rows = part
        target = rows.float() * sae.scale - sae.b_dec
        centred = target.to(dtype)
        z = torch.addmm(bias, centred, w_enc.T)
        if few:
            grads, fired, rest, f = _sparse(sae, z, target, batch, k)
        else:
            grads, fired, rest, f = _dense(sae, z, target, centred, w_dec, batch, k, l1)
        if number == 0 and dead is not None and len(dead) and aux:
            _add_aux(grads, dead, z, rest, centred, w_dec, aux)
        return grads, fired, rest.square().sum(), f

    parts, total = enumerate(x.split(ROWS)), None
    for found in spread(one, parts) if few else map(one, parts):
        if total is None:
            total, first = found[:3], found[3]
        else:
            total = ([a.add_(b) for a, b in zip(total[0], found[0], strict=True)], total[1] | found[1],
                     total[2] + found[2])
    return total[0], total[1], total[2] / len(x), first


def _dense(sae: Sae, z, target, centred, w_dec, batch, k, l1):
    """Gradients, fired, error and latents of some rows from their pre-activations, by products with all latents."""
    least = batch_threshold(z, k) if sae.kind == "batchtopk" else 0.0
    if k == sae.k:  # the threshold for use is that of many batches
        sae.threshold = sae.threshold + 0.01 * (least - sae.threshold) if sae.threshold else least
    f = act(z, sae.kind, k, least)
    rest = (f @ w_dec).float() - target
    g = (rest * (2 / batch)).to(z.dtype)
    dz = g @ w_dec.T
    if l1:
        dz += l1 / batch
    torch.ops.aten.threshold_backward.grad_input(dz, f, 0, grad_input=dz)  # 0 where f is, in place
    d_bias = (torch.ones(1, len(dz), dtype=z.dtype, device=z.device) @ dz).float().squeeze(0)
    grads = [(dz.T @ centred).float(), d_bias, (f.T @ g).float(), g.sum(0, dtype=torch.float32) - d_bias @ sae.w_enc]
    bits = f.view(torch.int16 if f.itemsize == 2 else torch.int32)  # ordered as f >= 0 is, and quicker to compare
    return grads, bits.amax(0) > 0, rest, f


def _sparse(sae: Sae, z, target, batch, k):
    """The same for TopK, in float32 and over the active latents alone; latents (rows, k)."""
    values, at = topk(z, k)
    f = torch.relu(values).float()
    rest = torch.nn.functional.embedding_bag(at, sae.w_dec, per_sample_weights=f, mode="sum") - target
    g = rest * (2 / batch)
    tokens, begin, weights = _by_latent(f, at, sae.width)
    with torch.enable_grad():
        d_dec = _summed(tokens, begin, weights.requires_grad_(), g)
    (dz,) = torch.autograd.grad(d_dec, weights, sae.w_dec)  # of sum_bi f_bi <g_b, W_i>: the products <g_b, W_i>
    weights = weights.detach()
    dz = torch.where(weights > 0, dz, 0)
    d_bias, total = (torch.segment_reduce(part, "sum", offsets=begin) for part in (dz, weights))
    grads = [_summed(tokens, begin, dz, target), d_bias, d_dec.detach(), g.sum(0) - d_bias @ sae.w_enc]
    return grads, total > 0, rest, f


def _by_latent(f: torch.Tensor, at: torch.Tensor, width: int) -> list[torch.Tensor]:
    """Active latents f (n, k) in the columns `at`, sorted by column: rows, where each column begins (width + 1,), f.

    >>> [part.tolist() for part in _by_latent(torch.tensor([[2.0], [3.0]]), torch.tensor([[1], [1]]), 2)]
    [[0, 1], [0, 0, 2], [2.0, 3.0]]
    """
    starts = np.arange(0, f.numel() + 1, f.shape[1])
    found = sparse.csr_matrix((f.numpy().ravel(), at.numpy().ravel(), starts), shape=(len(f), width)).tocsc()
    return [torch.from_numpy(part) for part in (found.indices, found.indptr, found.data)]


def _summed(tokens: torch.Tensor, begin: torch.Tensor, weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows (n, d) of the tokens of each latent (see `_by_latent`), summed with their weights: (width, d)."""
    return torch.nn.functional.embedding_bag(tokens, rows, begin, per_sample_weights=weights, mode="sum",
                                             include_last_offset=True)


def _add_aux(grads, dead, z, rest, centred, w_dec, aux):
    """Add the gradients of aux * mean_b ||rest_b + W_dec[dead]^T topk(z_b[dead])||^2 to `grads`."""
    w = w_dec[dead].to(z.dtype)
    f = act(z[:, dead], "topk", min(w.shape[1] // 2, len(dead)), 0.0)
    g = (((f @ w).float() + rest) * (2 * aux / len(z))).to(z.dtype)
    dz = torch.ops.aten.threshold_backward(g @ w.T, f, 0)
    grads[0].index_add_(0, dead, (dz.T @ centred).float())
    grads[1].index_add_(0, dead, dz.sum(0, dtype=torch.float32))
    grads[2].index_add_(0, dead, (f.T @ g).float())
