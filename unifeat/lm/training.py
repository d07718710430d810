"""Training a language model: a fused linear cross-entropy, the schedule, the order of the text, the loop."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from unifeat import lm
from unifeat.lm.optimizer import Optimizer
from unifeat.lm.way import own_head, way
from unifeat.support.checkpoint import Checkpoint
from unifeat.support.parallel import Bar


class _LinearCrossEntropy(torch.autograd.Function):
    """sum_i -log softmax(x_i W^T)[y_i] without ever holding all logits.

    The gradient is formed in the forward pass, chunk by chunk: d/dz = softmax(z) - onehot(y), d/dx = (d/dz) W,
    d/dW = (d/dz)^T x. (The idea is Liger Kernel's fused linear cross-entropy, arXiv 2410.10989.)
    """

    @staticmethod
    def forward(ctx, x, weight, targets, dtype):
        rows, low = x.to(dtype), weight.to(dtype)
        d_rows = torch.empty_like(rows)
        d_weight = rows.new_zeros(weight.T.shape, dtype=torch.float32)  # zeros_like keeps strides unlike the products'
        loss, held = torch.zeros((), device=x.device), rows.new_empty(min(lm.CHUNK, len(rows)), len(weight))
        for start in range(0, len(rows), lm.CHUNK):
            part, target = rows[start:start + lm.CHUNK], targets[start:start + lm.CHUNK]
            z, row = torch.mm(part, low.T, out=held[:len(part)]), torch.arange(len(part), device=x.device)
            p = torch.softmax(z, dim=-1, out=z)  # in the same memory for all chunks: it stays in the caches
            chosen = p[row, target]
            loss -= chosen.float().clamp_min(1e-30).log().sum()
            p[row, target] = chosen - 1  # (scatter_ would copy p first)
            torch.mm(p, low, out=d_rows[start:start + lm.CHUNK])
            d_weight += part.T @ p  # this way round the narrow factor is the one that is transposed
        ctx.save_for_backward(d_rows, d_weight.T)
        ctx.like = x.dtype
        return loss

    @staticmethod
    def backward(ctx, grad):
        d_rows, d_weight = ctx.saved_tensors
        return (d_rows * grad).to(ctx.like), d_weight * grad, None, None


def loss_of(model, tokens: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy in nats of `tokens` (batch, context), for training."""
    with lm.autocast():
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    rows, targets = hidden[:, :-1].reshape(-1, hidden.shape[-1]), tokens[:, 1:].reshape(-1)
    if way(model).plain_head:
        weight = model.get_output_embeddings().weight
        return _LinearCrossEntropy.apply(rows, weight, targets, lm.compute_dtype()) / len(targets)
    parts = zip(rows.split(lm.CHUNK), targets.split(lm.CHUNK), strict=True)
    return sum(checkpoint(_own_loss, model, *part, use_reentrant=False) for part in parts) / len(targets)


def _own_loss(model, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy in nats by the model's own head; `checkpoint` keeps no chunk's logits."""
    with lm.autocast():
        logits = own_head(model, rows)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def schedule(step: int, steps: int, config) -> float:
    """Share of the learning rate at `step` of `steps`: linear warm-up, then a cosine down to final_lr.

    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(warmup=10, final_lr=0.02)
    >>> [round(schedule(step, 100, config), 3) for step in (0, 4, 10, 55, 100)]
    [0.1, 0.5, 1.0, 0.51, 0.02]
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, steps - config.warmup)
    return config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def mixture(sizes: list[int], weights: Iterable[float], count: int, seed: int) -> np.ndarray:
    """Which block comes when: (count, 2) integers (domain, block), each domain in proportion to its weight.

    A domain's blocks are all used once before any is used again, in a new order each time.

    >>> rows = mixture([3, 5], [1, 1], 6, seed=0)
    >>> sorted(rows[rows[:, 0] == 0, 1].tolist()), (rows[:, 0] == 1).sum().item()
    ([0, 1, 2], 3)
    """
    rng = np.random.default_rng(seed)
    shares = np.asarray(list(weights), float) / sum(weights)
    counts = np.diff(np.round(np.concatenate([[0], np.cumsum(shares)]) * count).astype(int))
    rows = []
    for domain, (size, wanted) in enumerate(zip(sizes, counts, strict=True)):
        epochs = [rng.permutation(size) for _ in range(-(-int(wanted) // size))] or [np.empty(0, int)]
        rows.append(np.stack([np.full(wanted, domain), np.concatenate(epochs)[:wanted]], axis=1))
    return rng.permutation(np.concatenate(rows))


def batches(blocks: list[np.ndarray], order: np.ndarray, batch: int, start: int = 0) -> Iterator[torch.Tensor]:
    """Token batches (batch, context) int64 along `order` (see `mixture`), from step `start` on."""
    for i in range(start * batch, len(order) - batch + 1, batch):
        rows = [blocks[domain][block] for domain, block in order[i:i + batch]]
        yield torch.from_numpy(np.stack(rows).astype(np.int64)).to(lm.device())


def train(model, blocks: dict[str, np.ndarray], config, validation: dict[str, np.ndarray],
          name: str = "model", folder: Path | None = None, bar: Bar | None = None, until: int | None = None,
          kept: dict[int, list[Callable]] | None = None) -> list[dict]:
    """Train `model` in place on `blocks` {domain: (n, context)}; returns the log, one row per measured loss.

    Rows: model, step, tokens, split ("train": mean since the last row, "validation"), domain, loss (nats). With
    `folder` the state is saved there now and then, and a later call goes on from it. `bar`: a progress bar to advance
    by the tokens seen, instead of its own. `until`: stop after so many steps of the same run, None = at its end.
    `kept`: by step, what is called with the model and the log that training up to there would return.
    """
    if bar is None:
        with Bar(total=config.tokens, desc=f"train {name}", unit="tok", unit_scale=True, mininterval=1) as bar:
            return train(model, blocks, config, validation, name, folder, bar, until, kept)
    domains, parts = list(config.text), [blocks[d] for d in config.text]
    size = config.batch * parts[0].shape[1]
    steps = config.tokens // size
    last = steps if until is None else min(until, steps)
    order = mixture([len(part) for part in parts], config.weights, steps * config.batch, config.seed)
    model.to(lm.device())
    optimizer = Optimizer(model, config)
    marks = set(np.linspace(0, steps, config.evaluations).astype(int).tolist())
    every = max(1, steps // 200)
    saved = Checkpoint(folder)
    start, rows, running = _restore(saved, model, optimizer)
    log = _Log(model, name, size, "+".join(domains), validation, rows, running)
    bar.skip(start * size)
    for step, tokens in enumerate(batches(parts, order, config.batch, start), start):
        if step >= last:
            break
        log.keep(step, kept)
        if step in marks:
            log.rows += log.measured(step)
        running.append(_step(model, optimizer, tokens, schedule(step, steps, config), config.clip))
        if (step + 1) % every == 0:
            log.rows += log.mean(step + 1)
            running.clear()
            bar.set_postfix(loss=f"{log.rows[-1]['loss']:.3f}", refresh=False)
        bar.update(size)
        if saved.due():
            _save(saved, model, optimizer, step + 1, log.rows, running)
    bar.update(config.tokens - last * size)  # what is less than a step, or after the last
    log.keep(last, kept)
    ended = log.ended(last)
    model.cpu().eval()
    return ended


@dataclass
class _Log:
    """The losses of a training: what `train` returns, so far."""

    model: object
    name: str
    size: int  # tokens of a step
    text: str
    validation: dict
    rows: list
    running: list  # losses since the last row of them

    def row(self, step, split, domain, loss) -> dict:
        return dict(model=self.name, step=step, tokens=step * self.size, split=split, domain=domain, loss=loss)

    def measured(self, step) -> list[dict]:
        return [self.row(step, "validation", domain, lm.evaluate(self.model, rows)["loss_nats"])
                for domain, rows in self.validation.items()]

    def mean(self, step) -> list[dict]:
        return [self.row(step, "train", self.text, torch.stack(self.running).mean().item())] if self.running else []

    def ended(self, step) -> list[dict]:
        """All rows, were this the last step."""
        return [*self.rows, *self.mean(step), *self.measured(step)]

    def keep(self, step, kept: dict | None) -> None:
        if kept and step in kept:
            rows = self.ended(step)
            for call in kept[step]:
                call(self.model, rows)


def _step(model, optimizer: Optimizer, tokens: torch.Tensor, share: float, clip: float) -> torch.Tensor:
    """One optimiser step at a share of the learning rate; the loss before it."""
    loss = loss_of(model, tokens)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step(share)
    return loss.detach()


def _save(saved: Checkpoint, model, optimizer, step: int, log: list, running: list) -> None:
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    losses = {"running": torch.stack(running)} if running else {}
    saved.save(weights | losses | optimizer.tensors(), dict(step=step, log=log))


def _restore(saved: Checkpoint, model, optimizer) -> tuple[int, list, list]:
    """The step to begin with, the log and the losses since its last row."""
    if (found := saved.load()) is None:
        return 0, [], []
    tensors, state = found
    model.load_state_dict({key.removeprefix("model."): value for key, value in tensors.items()
                           if key.startswith("model.")})
    optimizer.restore(tensors)
    return state["step"], state["log"], list(tensors.get("running", torch.empty(0)).to(lm.device()))


def write_log(rows: list[dict], path: Path) -> None:
    """A training log as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
