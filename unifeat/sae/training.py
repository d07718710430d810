"""Training sparse autoencoders: one trainer per seed, all on one stream of activations."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from unifeat import lm
from unifeat.lm import training
from unifeat.sae.gradients import gradients
from unifeat.sae.model import TENSORS, Sae
from unifeat.support.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from unifeat.support.parallel import Bar


def init(config, d: int, seed: int, scale: float, center: torch.Tensor, lm_hash: str = "") -> Sae:
    """A new SAE: random unit decoder rows, encoder = decoder, b_dec = `center` (scaled units)."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(config.width, d, generator=generator)
    w = (w / w.norm(dim=1, keepdim=True)).to(center.device)
    return Sae(config.kind, config.k, w.clone(), w.new_zeros(config.width), w, center.clone(), scale,
               lm_hash=lm_hash, seed=seed, hook=config.hook)


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


def rate(step: int, steps: int, config) -> float:
    """Learning rate: linear warm-up, constant, then linear to zero over the last `decay` of the steps."""
    down = max(1, round(config.decay * steps))
    return config.lr * min(1.0, (step + 1) / max(1, config.warmup), (steps - step) / down)


def active(step: int, steps: int, config) -> int:
    """Active latents at `step`: from k_first down to k over the first `k_anneal` of the steps, in a line.

    Dense first steps give every latent a gradient, and SAEs of different seeds end nearer to each other (k annealing,
    as in dictionary_learning's TopK trainers).

    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(k=8, k_first=32, k_anneal=0.5, width=512)
    >>> [active(step, 100, config) for step in (0, 25, 50, 99)]
    [32, 20, 8, 8]
    """
    left = max(0.0, 1 - step / (config.k_anneal * steps)) if config.k_anneal else 0.0
    return min(config.width, config.k + round((config.k_first - config.k) * left))


def l0(f: torch.Tensor) -> float:
    """Mean number of active latents per token of f (tokens, width)."""
    return f.count_nonzero().item() / len(f)


class Trainer:
    """Trains one SAE: Adam on its `gradients`, decoder rows kept at unit norm."""

    def __init__(self, sae: Sae, config):
        self.sae, self.config, self.l1, self.step = sae, config, config.l1, 0
        self.steps = config.tokens // config.batch
        self.optimizer = torch.optim.Adam(sae.parameters(), lr=config.lr, betas=(0.9, config.beta2), fused=True)
        self.silent = torch.zeros(sae.width, device=sae.w_dec.device)  # tokens since a latent last fired

    def update(self, x: torch.Tensor) -> dict:
        """One optimiser step on the batch x (B, d); returns its mean squared error, its latents, the number of dead."""
        sae, config = self.sae, self.config
        dead = (self.silent > config.dead_after).nonzero().squeeze(1)
        l1 = self.l1 if sae.kind == "relu" else 0.0
        grads, fired, error, f = gradients(sae, x, l1, dead, config.aux, active(self.step, self.steps, config))
        if sae.kind == "relu":  # steer L0 to k
            self.l1 *= math.exp(0.02 * max(-1.0, min(1.0, l0(f) / sae.k - 1)))
        self.silent = torch.where(fired, 0.0, self.silent + len(x))
        grads[2].addcmul_(torch.linalg.vecdot(grads[2], sae.w_dec)[:, None], sae.w_dec, value=-1)
        for parameter, grad in zip(sae.parameters(), grads, strict=True):
            parameter.grad = grad
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.steps, config)
        self.optimizer.step()
        self.optimizer.zero_grad()  # now: the next gradients take their memory while it is cached
        sae.w_dec /= sae.w_dec.norm(dim=1, keepdim=True)
        self.step += 1
        return dict(error=error, latents=f, dead=len(dead))

    def state(self) -> tuple[dict[str, torch.Tensor], dict]:
        """All that `restore` needs to go on: tensors and plain values."""
        tensors = {name: getattr(self.sae, name) for name in TENSORS} | {"silent": self.silent}
        return (tensors | optimizer_tensors(self.optimizer),
                dict(step=self.step, l1=self.l1, threshold=self.sae.threshold))

    def restore(self, tensors: dict[str, torch.Tensor], values: dict) -> None:
        """Go on from a `state`."""
        for name in TENSORS:
            getattr(self.sae, name).copy_(tensors[name])
        self.silent.copy_(tensors["silent"])
        restore_optimizer(self.optimizer, tensors)
        self.step, self.l1, self.sae.threshold = values["step"], values["l1"], values["threshold"]

    def finish(self) -> Sae:
        """The trained SAE, on the CPU, its dead share filled in."""
        sae = self.sae
        sae.dead_share = (self.silent > self.config.dead_after).float().mean().item()
        for name in TENSORS:
            setattr(sae, name, getattr(sae, name).detach().cpu())
        return sae


def stream(model, blocks: list[np.ndarray], weights, config, seed: int = 0, start: int = 0,
           ) -> Iterator[torch.Tensor]:
    """Buffers (tokens, d) of activations of `model` at config.hook over its own data mix, special tokens left out.

    Enough for config.tokens, from buffer number `start` on; every buffer is drawn from all over the corpus and is to
    be shuffled by its readers.
    """
    context = blocks[0].shape[1]
    per_buffer = max(1, config.buffer // context)
    spare = 1.05  # special tokens are dropped; a stream that still runs out starts another pass
    count = math.ceil(config.tokens * spare / context / per_buffer) * per_buffer
    order = training.mixture([len(b) for b in blocks], weights, count, seed)
    model.to(lm.device())
    for i in range(start * per_buffer, count, per_buffer):
        parts = []
        for tokens in training.batches(blocks, order[i:i + per_buffer], min(64, per_buffer)):
            parts.append(lm.activations(model, tokens, config.hook)[tokens > 0])
        yield torch.cat(parts)


def train(model, blocks: list[np.ndarray], weights, config, name: str = "model",
          folder: Path | None = None, bar: Bar | None = None) -> tuple[list[Sae], list[dict]]:
    """Train one SAE per seed of `config` on one stream of activations of `model`.

    Seeds differ in initial weights and in the order in which they draw batches from each buffer.
    Returns (SAEs, log): the log has one row per 1 % of training and seed: model, seed, tokens, fvu, l0, dead. With
    `folder` the state is saved there now and then, and a later call goes on from it. `bar`: a progress bar to advance
    by the tokens seen, instead of its own.
    """
    if bar is None:
        with Bar(total=config.tokens, desc=f"SAEs of {name}", unit="tok", unit_scale=True, mininterval=1) as bar:
            return train(model, blocks, weights, config, name, folder, bar)
    saved, lm_hash = Checkpoint(folder), lm.weights_hash(model)
    generators = [torch.Generator().manual_seed(1000 + seed) for seed in config.seeds]
    tensors, state = saved.load() or ({}, dict(buffer=0, at=0, log=[]))
    trainers, log, at = [], state["log"], state["at"]
    for number, buffer in enumerate(stream(model, blocks, weights, config, start=state["buffer"]), state["buffer"]):
        if not trainers:
            trainers, variance = _trainers(buffer, config, lm_hash, generators, tensors, state)
            every = max(1, trainers[0].steps // 100)
            bar.skip(trainers[0].step * config.batch)
        begin = [generator.get_state() for generator in generators]
        orders = [torch.randperm(len(buffer), generator=generator) for generator in generators]
        for i in range(at, len(buffer) - config.batch + 1, config.batch):
            if trainers[0].step >= trainers[0].steps:
                break
            for trainer, order in zip(trainers, orders, strict=True):
                terms = trainer.update(buffer.index_select(0, order[i:i + config.batch].to(buffer.device)))
                if trainer.step % every == 0:
                    log.append(dict(model=name, seed=trainer.sae.seed, tokens=trainer.step * config.batch,
                                    fvu=float(terms["error"]) / variance, l0=l0(terms["latents"]), dead=terms["dead"]))
                    bar.set_postfix(fvu=f"{log[-1]['fvu']:.3f}", l0=f"{log[-1]['l0']:.0f}", refresh=False)
                del terms  # the next update's latents take their memory while it is cached
            bar.update(config.batch)
            if saved.due():
                _save(saved, trainers, begin, dict(buffer=number, at=i + config.batch, log=log, variance=variance,
                                                   scale=trainers[0].sae.scale))
        at = 0
    bar.update(config.tokens % config.batch)  # what is less than a step
    return [trainer.finish() for trainer in trainers], log


def _trainers(buffer, config, lm_hash, generators, tensors, state) -> tuple[list["Trainer"], float]:
    """A trainer per seed and the variance of the scaled activations: from the first buffer, or as they were saved."""
    if tensors:
        scale, variance, center = state["scale"], state["variance"], tensors["0.b_dec"].to(buffer.device)
    else:
        sample = buffer[:: max(1, len(buffer) // 8192)].float()
        scale = math.sqrt(sample.shape[1]) / sample.square().sum(1).mean().sqrt().item()
        variance = ((sample - sample.mean(0)) * scale).square().sum(1).mean().item()
        center = geometric_median(sample * scale)
    trainers = [Trainer(init(config, buffer.shape[1], seed, scale, center, lm_hash), config) for seed in config.seeds]
    for number, (trainer, generator) in enumerate(zip(trainers, generators, strict=True) if tensors else ()):
        own = {key.split(".", 1)[1]: value for key, value in tensors.items() if key.startswith(f"{number}.")}
        trainer.restore(own, state["trainers"][number])
        generator.set_state(own["generator"])
    return trainers, variance


def _save(saved: Checkpoint, trainers: list["Trainer"], generators: list[torch.Tensor], state: dict) -> None:
    tensors, values = {}, []
    for number, (trainer, generator) in enumerate(zip(trainers, generators, strict=True)):
        own, plain = trainer.state()
        tensors |= {f"{number}.{name}": value for name, value in (own | {"generator": generator}).items()}
        values.append(plain)
    saved.save(tensors, state | dict(trainers=values))
