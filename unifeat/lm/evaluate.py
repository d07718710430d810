"""Loss, accuracy and bits per byte of a model on held-out text, and text sampled from it."""

import math

import numpy as np
import torch

from unifeat.lm.device import autocast, device
from unifeat.lm.hooks import context
from unifeat.lm.way import head

CHUNK = 1024  # rows of logits held at once


@torch.inference_mode()
def evaluate(model, blocks: np.ndarray, token_bytes: np.ndarray | None = None, batch: int = 32) -> dict:
    """Next-token loss and accuracy on `blocks` (n, context); with `token_bytes` (vocab,) bits per byte too.

    Returns tokens (predicted ones), loss_nats (mean), accuracy, and bytes and bits_per_byte: the summed loss in
    bits over the bytes that the predicted tokens stand for.
    """
    loss, right, count, size = 0.0, 0, 0, 0
    model.to(device())
    to_logits, held = head(model), torch.empty(CHUNK, model.config.vocab_size, device=device())  # one memory for all
    for start in range(0, len(blocks), batch):
        tokens = torch.from_numpy(np.asarray(blocks[start:start + batch]).astype(np.int64)).to(device())
        with autocast():
            hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            rows, targets = hidden[:, :-1].reshape(-1, hidden.shape[-1]), tokens[:, 1:].reshape(-1)
            for i in range(0, len(rows), CHUNK):
                part, target = rows[i:i + CHUNK], targets[i:i + CHUNK, None]
                z = held[:len(part)].copy_(to_logits(part))
                right += (z.max(-1, keepdim=True).indices == target).sum().item()
                loss -= torch.log_softmax(z, -1, out=z).gather(1, target).sum().item()
        count += len(targets)
        if token_bytes is not None:
            size += int(token_bytes[targets.cpu().numpy()].sum())
    out = dict(tokens=count, loss_nats=loss / count, accuracy=right / count)
    if token_bytes is not None:
        out |= dict(bytes=size, bits_per_byte=loss / math.log(2) / size)
    return out


@torch.inference_mode()
def sample(model, tokenizer, prompt: str, tokens: int, seed: int, temperature: float = 0.8) -> str:
    """`prompt` continued by `tokens` sampled tokens; the same seed gives the same text."""
    generator = torch.Generator().manual_seed(seed)
    ids = [0, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    for _ in range(tokens):
        window = torch.tensor([ids[-context(model):]], device=model.device)
        logits = model(input_ids=window, use_cache=False).logits[0, -1].float().cpu()
        ids.append(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator).item())
    return tokenizer.decode(ids[1:])
