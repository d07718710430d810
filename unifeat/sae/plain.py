"""The fast kernels of this room as their formulas, for reading: only tests import them, and hold the two equal."""

import torch


def topk(z: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row of z (tokens, width), largest first, and their columns; twin of `topk.topk`."""
    at = z.argsort(dim=1, descending=True, stable=True)[:, :k]
    return z.gather(1, at), at


def batch_threshold(z: torch.Tensor, k: int) -> torch.Tensor:
    """The B k-th largest of z (B, width); twin of `gradients.batch_threshold`.

    Bussmann et al. 2024, arXiv 2412.06410.
    """
    return z.flatten().sort(descending=True).values[k * len(z) - 1]


def act(z: torch.Tensor, kind: str, k: int, threshold=0.0) -> torch.Tensor:
    """Latents (tokens, width): relu(z) where it is among the k largest, or at least `threshold`; twin of `model.act`.

    topk: Makhzani & Frey 2013, arXiv 1312.5663; Gao et al. 2024, arXiv 2406.04093, section 2.3.
    """
    least = 0.0 if kind == "relu" else topk(z, k)[0][:, -1:] if kind == "topk" else threshold
    return torch.relu(z) * (z >= least)


def encode(sae, x: torch.Tensor) -> torch.Tensor:
    """f = act(W_enc (s x - b_dec) + b_enc) of activations x (tokens, d), in float64; twin of `Sae.encode`."""
    w_enc, b_enc, _, b_dec = (p.double() for p in sae.parameters())
    return act((sae.scale * x.double() - b_dec) @ w_enc.T + b_enc, sae.kind, sae.k, sae.threshold)


def decode(sae, f: torch.Tensor) -> torch.Tensor:
    """x_hat = (W_dec^T f + b_dec) / s of latents f (tokens, width), in float64; twin of `Sae.decode`."""
    return (f.double() @ sae.w_dec.double() + sae.b_dec.double()) / sae.scale


def loss(sae, x: torch.Tensor, l1: float = 0.0, dead=(), aux: float = 0.0) -> torch.Tensor:
    """What training lowers on a batch x (B, d), by autograd; twin of `gradients.gradients`.

        mean_b ||s x_b - (W_dec^T f_b + b_dec)||^2 + l1 mean_b sum_i f_bi + aux mean_b ||e_b - W_dec[dead]^T h_b||^2

    e is the error of the first term, held fixed, and h the largest of the `dead` latents, d / 2 of them at most
    (AuxK: Gao et al. 2024, arXiv 2406.04093, section A.2).
    """
    w_enc, b_enc, w_dec, b_dec = sae.parameters()
    target = sae.scale * x - b_dec
    z = target @ w_enc.T + b_enc
    f = act(z, sae.kind, sae.k, batch_threshold(z, sae.k))
    e = target - f @ w_dec
    total = e.square().sum(1).mean() + l1 * f.sum(1).mean()
    if len(dead) and aux:
        z = target.detach() @ w_enc[dead].T + b_enc[dead]
        h = act(z, "topk", min(x.shape[1] // 2, len(dead)))
        total = total + aux * (e.detach() - h @ w_dec[dead]).square().sum(1).mean()
    return total
