"""The way a model's numbers are computed: ours where it is proved to be the model's own, else the model's.

`proof.prove` sets a model's way when it is loaded. Ours is quicker: one attention kernel, and logits as last hidden
state times unembedding, in chunks.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Way:
    """How a model is computed.

    plain_head: its logits are W h, with W the unembedding's weight and h the last hidden state. gains: factors
    (d_model,) between what a module writes and what reaches the residual stream, by hook point, where they are not 1.
    """

    plain_head: bool = True
    gains: dict[str, torch.Tensor] = field(default_factory=dict)


def way(model) -> Way:
    """The model's way; that of a plain decoder if nothing else was proved."""
    return getattr(model, "unifeat_way", Way())


def head(model) -> Callable[[torch.Tensor], torch.Tensor]:
    """Logits (n, vocab) of last hidden states (n, d_model), as the model makes them of its own."""
    return model.get_output_embeddings() if way(model).plain_head else functools.partial(own_head, model)


def own_head(model, hidden: torch.Tensor) -> torch.Tensor:
    """Logits (n, vocab) by the model's own forward pass, with `hidden` (n, d_model) in the place of its base's result.

    So biases, scales and soft caps are the model's, whatever they are.
    """
    tokens = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
    with contextlib.ExitStack() as stack:
        for module in {model.base_model, model.get_decoder()} - {model}:  # OPT calls its decoder past its base
            if hasattr(module, "config"):  # a model (ModernBERT's decoder is its head)
                stack.enter_context(_replaced(module, lambda *_, **__: _base_output(hidden[None])))
        return model(input_ids=tokens, use_cache=False).logits[0]


def _base_output(hidden: torch.Tensor):
    """What a base model gives, with nothing in it but the last hidden state."""
    from transformers.modeling_outputs import BaseModelOutput

    class Output(BaseModelOutput):
        def __getattr__(self, name: str) -> None:
            """Models ask for more by many names (caches, cross attentions, routers); none is there."""
            if name.startswith("__"):
                raise AttributeError(name)

    return Output(last_hidden_state=hidden)


@contextlib.contextmanager
def _replaced(module, forward: Callable) -> Iterator[None]:
    """Within the context, `forward` is the module's; one that was put there before comes back after it."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
