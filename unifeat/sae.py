"""Sparse autoencoders on MLP activations: three kinds, one trainer for several seeds on one stream, metrics."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from unifeat import lm, profiles
from unifeat.errors import UnifeatError

TENSORS = ("w_enc", "b_enc", "w_dec", "b_dec")
SCALARS = ("kind", "k", "scale", "threshold", "lm_hash", "seed", "dead_share")
ROWS = 2048  # activations handled at once: their latents stay inside a core's caches


class SaeError(UnifeatError):
    """An SAE folder that cannot be read, or an SAE used with a model it was not trained on."""


@dataclass
class Sae:
    """A sparse autoencoder of activations x (d,), with `width` latents f.

        z = W_enc (s x - b_dec) + b_enc,   f = act(z),   x_hat = (W_dec^T f + b_dec) / s

    act keeps positive z (`relu`), the k largest of a token (`topk`), or those above a threshold that lets k
    through on average (`batchtopk`; in training the B k largest of a batch of B tokens, Bussmann et al. 2024,
    arXiv 2412.06410). s is one number per model, so that E||s x||^2 = d. Rows of W_dec have unit norm.

    Shapes: w_enc and w_dec (width, d), b_enc (width,), b_dec (d,).
    """

    kind: str
    k: int
    w_enc: torch.Tensor
    b_enc: torch.Tensor
    w_dec: torch.Tensor
    b_dec: torch.Tensor
    scale: float
    threshold: float = 0.0  # batchtopk: least activation let through
    lm_hash: str = ""  # weights of the language model it was trained on
    seed: int = 0
    dead_share: float = math.nan  # latents that did not fire in the last `dead_after` tokens of training

    @property
    def width(self) -> int:
        return len(self.b_enc)

    @torch.inference_mode()
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations (tokens, d) -> latents (tokens, width), float32."""
        parts = [self.latents(x[i:i + ROWS])[0] for i in range(0, len(x), ROWS)]
        return torch.cat(parts).float() if parts else x.new_zeros(0, self.width)

    @torch.inference_mode()
    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """Latents (tokens, width) -> reconstructed activations (tokens, d)."""
        return (f.to(self.w_dec.dtype) @ self.w_dec + self.b_dec) / self.scale

    def latents(self, x: torch.Tensor):
        """Latents of at most a few thousand activations, in the dtype of computation, and the centred input."""
        dtype = lm.compute_dtype()
        centred = (x.float() * self.scale - self.b_dec).to(dtype)
        z = torch.addmm(self.b_enc.to(dtype), centred, self.w_enc.to(dtype).T)
        return act(z, self.kind, self.k, self.threshold), centred

    def parameters(self) -> list[torch.Tensor]:
        """The four trained tensors."""
        return [self.w_enc, self.b_enc, self.w_dec, self.b_dec]


def act(z: torch.Tensor, kind: str, k: int, threshold: float) -> torch.Tensor:
    """The activation function of `kind` on pre-activations z (tokens, width).

    >>> act(torch.tensor([[3.0, -1.0, 2.0, 1.0]]), "topk", 2, 0.0).tolist()
    [[3.0, 0.0, 2.0, 0.0]]
    """
    if kind == "topk":
        values, at = z.topk(k, dim=-1, sorted=False)
        return torch.zeros_like(z).scatter_(1, at, torch.relu(values))
    return torch.relu(z) if kind == "relu" else torch.relu(z).masked_fill_(z < threshold, 0)


def batch_threshold(z: torch.Tensor, k: int) -> float:
    """The B k-th largest of the pre-activations z (B, width), at least 0.

    >>> batch_threshold(torch.tensor([[5.0, 4.0], [1.0, 0.5]]), 1)
    4.0
    """
    values = z.detach().float().cpu().numpy().ravel()
    index = values.size - k * len(z)
    return max(0.0, float(np.partition(values, index)[index]))


def init(config: profiles.Sae, d: int, seed: int, scale: float, center: torch.Tensor, lm_hash: str = "") -> Sae:
    """A new SAE: random unit decoder rows, encoder = decoder, b_dec = `center` (scaled units)."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(config.width, d, generator=generator)
    w = (w / w.norm(dim=1, keepdim=True)).to(center.device)
    return Sae(config.kind, config.k, w.clone(), w.new_zeros(config.width), w, center.clone(), scale,
               lm_hash=lm_hash, seed=seed)


def geometric_median(x: torch.Tensor, steps: int = 50) -> torch.Tensor:
    """The point with the least summed distance to the rows of x (Weiszfeld's iteration).

    >>> geometric_median(torch.tensor([[0.0], [1.0], [50.0]])).round(decimals=2).item()
    1.0
    """
    point = x.mean(0)
    for _ in range(steps):
        weight = 1 / (x - point).norm(dim=1).clamp_min(1e-6)
        point = (x * weight[:, None]).sum(0) / weight.sum()
    return point


def gradients(sae: Sae, x: torch.Tensor, l1: float, dead: torch.Tensor | None, aux: float):
    """Gradients of the loss on a batch x (B, d), written out so that no float32 latents are ever held.

        loss = mean_b ||s x_b - (W_dec^T f_b + b_dec)||^2 + l1 * mean_b sum_i f_bi + aux * AuxK

    AuxK (Gao et al. 2024, arXiv 2406.04093, section A.2) makes the `dead` latents (indices) reconstruct the error
    that is left; here on the first ROWS activations of a batch.
    Returns (gradients in the order of `Sae.parameters`, fired (width,) bool, mean squared error, L0 of the first ROWS).
    """
    dtype, batch = lm.compute_dtype(), len(x)
    w_enc, w_dec, bias = sae.w_enc.to(dtype), sae.w_dec.to(dtype), sae.b_enc.to(dtype)
    grads = [torch.zeros_like(p) for p in sae.parameters()]
    fired = torch.zeros(sae.width, dtype=torch.bool, device=x.device)
    ones, error = torch.ones(1, ROWS, dtype=dtype, device=x.device), torch.zeros((), device=x.device)
    for i in range(0, batch, ROWS):
        target = x[i:i + ROWS].float() * sae.scale - sae.b_dec
        centred = target.to(dtype)
        z = torch.addmm(bias, centred, w_enc.T)
        if sae.kind == "batchtopk":
            sae.threshold += 0.01 * (batch_threshold(z, sae.k) - sae.threshold) if sae.threshold else 1.0
            f = act(z, sae.kind, sae.k, batch_threshold(z, sae.k))
        else:
            f = act(z, sae.kind, sae.k, 0.0)
        rest = (f @ w_dec).float() - target
        g = (rest * (2 / batch)).to(dtype)
        dz = g @ w_dec.T
        dz = torch.ops.aten.threshold_backward(dz.add_(l1 / batch) if l1 else dz, f, 0)  # dz where f > 0, else 0
        if i == 0 and dead is not None and len(dead) and aux:
            _add_aux(grads, dead, z, rest, centred, w_dec, aux)
        d_bias = (ones[:, :len(dz)] @ dz).float().squeeze(0)
        grads[0] += (centred.T @ dz).T  # this way round the narrow factor is the one that is transposed
        grads[1] += d_bias
        grads[2] += (g.T @ f).T
        grads[3] += g.sum(0, dtype=torch.float32) - d_bias @ sae.w_enc
        fired |= f.amax(0) > 0
        error += rest.square().sum()
        if i == 0:
            l0 = f.count_nonzero() / len(f)
    return grads, fired, error / batch, l0


def _add_aux(grads, dead, z, rest, centred, w_dec, aux):
    """Add the gradients of aux * mean_b ||rest_b + W_dec[dead]^T topk(z_b[dead])||^2 to `grads`."""
    w = w_dec[dead]
    f = act(z[:, dead], "topk", min(w.shape[1] // 2, len(dead)), 0.0)
    g = (((f @ w).float() + rest) * (2 * aux / len(z))).to(z.dtype)
    dz = torch.ops.aten.threshold_backward(g @ w.T, f, 0)
    grads[0].index_add_(0, dead, (dz.T @ centred).float())
    grads[1].index_add_(0, dead, dz.sum(0, dtype=torch.float32))
    grads[2].index_add_(0, dead, (f.T @ g).float())


def rate(step: int, steps: int, config: profiles.Sae) -> float:
    """Learning rate: linear warm-up, constant, then linear to zero over the last `decay` of the steps."""
    down = max(1, round(config.decay * steps))
    return config.lr * min(1.0, (step + 1) / max(1, config.warmup), (steps - step) / down)


class Trainer:
    """Trains one SAE: Adam on the gradients above, decoder rows kept at unit norm."""

    def __init__(self, sae: Sae, config: profiles.Sae):
        self.sae, self.config, self.l1, self.step = sae, config, config.l1, 0
        self.steps = config.tokens // config.batch
        self.optimizer = torch.optim.Adam(sae.parameters(), lr=config.lr, betas=(0.9, config.beta2), fused=True)
        self.silent = torch.zeros(sae.width, device=sae.w_dec.device)  # tokens since a latent last fired

    def update(self, x: torch.Tensor) -> dict:
        """One optimiser step on the batch x (B, d); returns loss terms."""
        sae, config = self.sae, self.config
        dead = (self.silent > config.dead_after).nonzero().squeeze(1)
        l1 = self.l1 if sae.kind == "relu" else 0.0
        grads, fired, error, l0 = gradients(sae, x, l1, dead, config.aux)
        if sae.kind == "relu":  # steer L0 to k
            self.l1 *= math.exp(0.02 * max(-1.0, min(1.0, float(l0) / sae.k - 1)))
        self.silent = torch.where(fired, 0.0, self.silent + len(x))
        grads[2] -= (grads[2] * sae.w_dec).sum(1, keepdim=True) * sae.w_dec
        for parameter, grad in zip(sae.parameters(), grads, strict=True):
            parameter.grad = grad
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.steps, config)
        self.optimizer.step()
        sae.w_dec /= sae.w_dec.norm(dim=1, keepdim=True)
        self.step += 1
        return dict(error=error, l0=l0, dead=len(dead))

    def finish(self) -> Sae:
        """The trained SAE, on the CPU, its dead share filled in."""
        sae = self.sae
        sae.dead_share = (self.silent > self.config.dead_after).float().mean().item()
        for name in TENSORS:
            setattr(sae, name, getattr(sae, name).detach().cpu())
        return sae


def stream(model, blocks: list[np.ndarray], weights, config: profiles.Sae, seed: int = 0) -> Iterator[torch.Tensor]:
    """Buffers (tokens, d) of MLP activations of `model` over its own data mix, special tokens left out.

    Enough for config.tokens; every buffer is drawn from all over the corpus and is to be shuffled by its readers.
    """
    context = blocks[0].shape[1]
    per_buffer = max(1, config.buffer // context)
    spare = 1.05  # special tokens are dropped; a stream that still runs out starts another pass
    count = math.ceil(config.tokens * spare / context / per_buffer) * per_buffer
    order = lm.mixture([len(b) for b in blocks], weights, count, seed)
    model.to(lm.device())
    for i in range(0, count, per_buffer):
        parts = []
        for tokens in lm.batches(blocks, order[i:i + per_buffer], min(64, per_buffer)):
            parts.append(lm.activations(model, tokens)[tokens > 0])
        yield torch.cat(parts)


def train(model, blocks: list[np.ndarray], weights, config: profiles.Sae, name: str = "model"):
    """Train one SAE per seed of `config` on one stream of activations of `model`.

    Seeds differ in initial weights and in the order in which they draw batches from each buffer.
    Returns (SAEs, log): the log has one row per 1 % of training and seed: model, seed, tokens, fvu, l0, dead.
    """
    seeds, trainers, log = config.seeds, [], []
    generators = [torch.Generator().manual_seed(1000 + seed) for seed in seeds]
    lm_hash = lm.weights_hash(model)
    bar = tqdm(total=config.tokens, desc=f"SAEs of {name}", unit="tok", unit_scale=True, mininterval=1)
    for buffer in stream(model, blocks, weights, config):
        if not trainers:
            sample = buffer[:: max(1, len(buffer) // 8192)].float()
            scale = math.sqrt(sample.shape[1]) / sample.square().sum(1).mean().sqrt().item()
            center = geometric_median(sample * scale)
            variance = ((sample - sample.mean(0)) * scale).square().sum(1).mean().item()
            trainers = [Trainer(init(config, sample.shape[1], seed, scale, center, lm_hash), config)
                        for seed in seeds]
        every = max(1, trainers[0].steps // 100)
        orders = [torch.randperm(len(buffer), generator=g) for g in generators]
        for i in range(0, len(buffer) - config.batch + 1, config.batch):
            if trainers[0].step >= trainers[0].steps:
                break
            for seed, trainer, order in zip(seeds, trainers, orders, strict=True):
                terms = trainer.update(buffer[order[i:i + config.batch].to(buffer.device)])
                if trainer.step % every == 0:
                    log.append(dict(model=name, seed=seed, tokens=trainer.step * config.batch,
                                    fvu=float(terms["error"]) / variance, l0=float(terms["l0"]), dead=terms["dead"]))
                    bar.set_postfix(fvu=f"{log[-1]['fvu']:.3f}", l0=f"{log[-1]['l0']:.0f}", refresh=False)
            bar.update(config.batch)
    bar.close()
    return [trainer.finish() for trainer in trainers], log


@torch.inference_mode()
def evaluate(saes: list[Sae], model, blocks: np.ndarray, batch: int = 32) -> list[dict]:
    """Metrics of each SAE on the activations of `model` over `blocks` (n, context), special tokens left out.

        FVU = sum ||x - x_hat||^2 / sum ||x - mean x||^2, mean per dimension, sums over all tokens
        CE recovered = (CE_ablated - CE_sae) / (CE_ablated - CE_clean), the MLP activation replaced by its mean,
        by zero, or by the SAE's reconstruction at every token

    Returns per SAE: l0 (mean active latents per token), fvu, ce_recovered_mean, ce_recovered_zero, and
    density (width,), the share of tokens on which each latent fires.
    """
    tokens = torch.from_numpy(np.asarray(blocks).astype(np.int64))
    model.to(lm.device())
    x = torch.cat([lm.activations(model, part.to(lm.device()))[part > 0] for part in tokens.split(batch)]).float()
    mean = x.mean(0)
    spread = (x - mean).double().square().sum().item()
    clean = lm.evaluate(model, blocks)["loss_nats"]
    ablated = {}
    for name, value in (("mean", mean), ("zero", torch.zeros_like(mean))):
        with lm.hooked(model, lambda x, value=value: value.expand_as(x)):
            ablated[name] = lm.evaluate(model, blocks)["loss_nats"]
    out = []
    for sae in saes:
        error, fires = 0.0, torch.zeros(sae.width, device=x.device)
        for part in x.split(ROWS):
            f = sae.encode(part)
            error += (part - sae.decode(f)).double().square().sum().item()
            fires += (f > 0).sum(0)
        with lm.hooked(model, lambda x, sae=sae: sae.decode(sae.encode(x.flatten(0, 1))).view_as(x)):
            loss = lm.evaluate(model, blocks)["loss_nats"]
        out.append(dict(l0=fires.sum().item() / len(x), fvu=error / spread, density=(fires / len(x)).cpu().numpy())
                   | {f"ce_recovered_{name}": (ce - loss) / (ce - clean) for name, ce in ablated.items()})
    return out


def save(sae: Sae, folder: Path) -> None:
    """Write sae.safetensors and config.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: getattr(sae, name).cpu().contiguous() for name in TENSORS}, folder / "sae.safetensors")
    config = {name: getattr(sae, name) for name in SCALARS}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load(folder: str | Path, model=None) -> Sae:
    """The SAE in `folder`; with `model`, refused unless it was trained on exactly that model's weights.

    Raises:
        SaeError: missing or damaged files, tensors of other shapes, or an SAE of another model.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        sae = Sae(**load_file(folder / "sae.safetensors"), **config)
        width, d = sae.w_enc.shape
        if any(t.shape != shape for t, shape in zip(sae.parameters(), [(width, d), (width,), (width, d), (d,)],
                                                    strict=True)):
            raise ValueError("its tensors have shapes that do not fit together")
        if not all(torch.isfinite(t).all() for t in sae.parameters()):
            raise ValueError("it holds values that are not finite")
    except Exception as error:
        raise SaeError(f"The SAE in {folder} cannot be loaded ({error}); train or save it again.") from error
    if model is not None and lm.weights_hash(model) != sae.lm_hash:
        raise SaeError(f"The SAE in {folder} was trained on another model (weights {sae.lm_hash}, not "
                       f"{lm.weights_hash(model)}); load it without a model to use it all the same.")
    return sae
