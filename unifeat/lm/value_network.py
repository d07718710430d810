"""Fine-tuning carried over in logit space: a network whose logits are added to those of a frozen model.

    z = z_base + z_D;  p(next) = softmax(z)

Inverse value learning (Lu et al. 2025, arXiv 2410.21027). The network is any causal language model of transformers with
the base's vocabulary; `train` fits it beside one base, and it can then be added to others: by `evaluate`, or in
`model.generate(logits_processor=[value_logits.ValueLogits(value)])`.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unifeat import lm
from unifeat.lm import training
from unifeat.lm.hooks import ModelError
from unifeat.lm.optimizer import Optimizer
from unifeat.support.parallel import Bar

SCHEMES = ("residual", "cascade")
STARTS = ("zero", "pretrained")
FILE = "value.json"


@dataclass
class Value:
    """A value network: the network, and how it sees the base.

    residual: it reads the text alone. cascade: softmax(z_base) E is added to its token embeddings E[token], as in the
    authors' code.
    """

    network: object  # a causal language model of transformers
    scheme: str = "residual"

    @property
    def vocab(self) -> int:
        """The size of the vocabulary that its logits are over."""
        return self.network.config.vocab_size

    def logits(self, tokens: torch.Tensor, base: torch.Tensor | None = None, **more) -> torch.Tensor:
        """z_D (batch, length, vocab), float32, of tokens (batch, length).

        base: the base's logits at the same places, which cascade needs; more: as a model of transformers takes it.

        Raises:
            ModelError: cascade without logits.
        """
        return self.output(tokens, base, **more).logits.float()

    def output(self, tokens: torch.Tensor, base: torch.Tensor | None = None, **more):
        """The network's whole output, its key-value cache for one."""
        if self.scheme == "residual":
            return self.network(input_ids=tokens, **more)
        if base is None:
            raise ModelError("A value network in cascade reads the base's logits; give the base model.")
        table = self.network.get_input_embeddings()
        return self.network(inputs_embeds=table(tokens) + torch.softmax(base.float(), -1) @ table.weight, **more)


def start(network, scheme: str = "residual", how: str = "zero") -> Value:
    """A new value network from a causal language model, which stays as it is.

    how: `zero`, an output head of zeros, so that step 0 is the base to the bit; or `pretrained`, as the authors start.

    Raises:
        ModelError: another scheme or start.
    """
    if scheme not in SCHEMES or how not in STARTS:
        raise ModelError(f"A value network is {' or '.join(SCHEMES)} and starts {' or '.join(STARTS)}, not {scheme} "
                         f"and {how}.")
    network = copy.deepcopy(network)
    if how == "zero":
        old = network.get_output_embeddings()
        head = torch.nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)
        torch.nn.init.zeros_(head.weight)
        if old.bias is not None:
            torch.nn.init.zeros_(head.bias)
        network.config.tie_word_embeddings = False  # or the embedding would be zero too
        network.set_output_embeddings(head.to(old.weight))
    return Value(network, scheme)


def check(base, value: Value) -> None:
    """Refuse a base of another vocabulary.

    Raises:
        ModelError: it names both sizes.
    """
    mine, theirs = value.vocab, base.config.vocab_size
    if mine != theirs:
        raise ModelError(f"The value network has {mine} tokens and the model {theirs}; use it on models of its own "
                         "tokenizer, or carry it over by vocabulary_map.translated.")


def loss_of(base_logits: torch.Tensor, delta: torch.Tensor, targets: torch.Tensor, weight: float) -> torch.Tensor:
    """CE(softmax(z_base + z_D), next) + weight ||z_D||_1 / V, means over tokens (the authors' code, with their norm
    where weight is 1); base_logits, delta (..., vocab), targets (...)."""
    cross_entropy = torch.nn.functional.cross_entropy((base_logits + delta).flatten(0, -2), targets.flatten())
    return cross_entropy + weight * delta.abs().mean()


@torch.no_grad()
def base_logits(base, tokens: torch.Tensor) -> torch.Tensor:
    """z_base (batch, length, vocab), float32."""
    with lm.autocast():
        return base(input_ids=tokens, use_cache=False).logits.float()


def train(base, value: Value, blocks: dict[str, np.ndarray], config, weight: float = 0.0,
          name: str = "value network", bar: Bar | None = None) -> list[float]:
    """Train `value` in place beside the frozen `base` on `blocks` {domain: (n, context)}; returns every step's loss.

    The base is not changed by a bit. config: as for `training.train`; weight: of the norm, 0 or more.

    Raises:
        ModelError: another vocabulary, or a weight below 0.
    """
    check(base, value)
    if weight < 0:
        raise ModelError(f"The norm's weight is {weight}; choose 0 or more.")
    if bar is None:
        with Bar(total=config.tokens, desc=f"train {name}", unit="tok", unit_scale=True, mininterval=1) as bar:
            return train(base, value, blocks, config, weight, name, bar)
    parts = [blocks[domain] for domain in config.text]
    size = config.batch * parts[0].shape[1]
    steps, losses = config.tokens // size, []
    order = training.mixture([len(part) for part in parts], config.weights, steps * config.batch, config.seed)
    base.to(lm.device()).eval()
    network = value.network.to(lm.device())
    optimizer = Optimizer(network, config)
    for step, tokens in enumerate(training.batches(parts, order, config.batch)):
        before = base_logits(base, tokens[:, :-1])
        with lm.autocast():
            delta = value.logits(tokens[:, :-1], before, use_cache=False)
        loss = loss_of(before, delta, tokens[:, 1:], weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step(training.schedule(step, steps, config))
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        bar.update(size)
    network.cpu().eval()
    return losses


@torch.no_grad()
def evaluate(base, value: Value | None, blocks: np.ndarray, batch: int = 16) -> dict:
    """Next-token loss (nats) and accuracy of base and value network together on `blocks` (n, context), as
    `lm.evaluate` gives them of one model; None: of the base alone."""
    if value is not None:
        check(base, value)
        value.network.to(lm.device()).eval()
    base.to(lm.device()).eval()
    loss, right, count = 0.0, 0, 0
    for at in range(0, len(blocks), batch):
        tokens = torch.from_numpy(np.asarray(blocks[at:at + batch]).astype(np.int64)).to(lm.device())
        logits, targets = base_logits(base, tokens[:, :-1]), tokens[:, 1:]
        if value is not None:
            with lm.autocast():
                logits = logits + value.logits(tokens[:, :-1], logits, use_cache=False)
        loss += torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        right += (logits.argmax(-1) == targets).sum().item()
        count += targets.numel()
    return dict(tokens=count, loss_nats=loss / count, accuracy=right / count)


def save(value: Value, tokenizer, folder: Path, about: str = "") -> None:
    """Write the network and its tokenizer in Hugging Face layout, its scheme as value.json, and a card.

    about: a line of the card that says what it was trained on and beside which base.
    """
    folder = Path(folder)
    lm.save(value.network, tokenizer, folder)
    (folder / FILE).write_text(json.dumps(dict(scheme=value.scheme)) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(
        f"# A value network ({value.scheme})\n\n{about}\n\nIts logits are added to those of another model of the same "
        "tokenizer:\n\n```python\nfrom unifeat.lm.value_logits import ValueLogits\n\nmodel.generate(**inputs, "
        f'logits_processor=[ValueLogits("{folder.name}", base=model)])\n```\n', encoding="utf-8")


def load(folder: str | Path) -> Value:
    """The value network in `folder`.

    Raises:
        ModelError: no such folder, or a model that is no value network.
    """
    folder = Path(folder)
    network = lm.load(folder)
    try:
        scheme = json.loads((folder / FILE).read_text(encoding="utf-8"))["scheme"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no value network ({FILE}: {error}); save one there with "
                         "value_network.save.") from error
    if scheme not in SCHEMES:
        raise ModelError(f"{folder / FILE} says the scheme {scheme!r}; it must be {' or '.join(SCHEMES)}.")
    return Value(network, scheme)
