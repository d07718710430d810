"""What two merges need to know of a model on text: its Fisher information, and its layers' inputs."""

import numpy as np
import torch

from unifeat import lm


def fisher(model, blocks: np.ndarray, seed: int = 0) -> dict[str, torch.Tensor]:
    """The diagonal Fisher information of every parameter, by name, on `blocks` (n, context).

        F = mean_n (d log p(y_n | x_n) / d theta)^2,  y ~ p(. | x), of the block's summed log-probability

    with next tokens drawn from the model itself (Matena & Raffel 2022, arXiv 2111.09832, section 3.2).
    """
    generator, total = torch.Generator().manual_seed(seed), {}
    for block in blocks:
        tokens = torch.from_numpy(np.asarray(block, np.int64))[None].to(model.device)
        model.zero_grad(set_to_none=True)
        logits = model(input_ids=tokens, use_cache=False).logits[0].float()
        drawn = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator).to(logits.device)
        logits.log_softmax(-1).gather(1, drawn).sum().backward()
        for name, value in model.named_parameters():
            if value.grad is not None:
                total[name] = total.get(name, 0.0) + value.grad.double().square() / len(blocks)
    model.zero_grad(set_to_none=True)
    return total


@torch.inference_mode()
def grams(model, blocks: np.ndarray, batch: int = 16) -> dict[str, torch.Tensor]:
    """X^T X / n (in, in) of the inputs X (n tokens, in) of every linear layer within the blocks of the model, by the
    name of its weight, on `blocks` (n, context)."""
    total, count, handles = {}, 0, []
    inside = {id(part) for block in lm.layers(model) for part in block.modules()}

    def keep(name, x):
        x = x.reshape(-1, x.shape[-1]).double()
        total[name] = total.get(name, 0.0) + x.T @ x

    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Linear) and id(part) in inside:
            handles.append(part.register_forward_pre_hook(
                lambda _, args, name=name: keep(f"{name}.weight", args[0])))
    try:
        for start in range(0, len(blocks), batch):
            tokens = torch.from_numpy(np.asarray(blocks[start:start + batch]).astype(np.int64)).to(model.device)
            model.base_model(input_ids=tokens, use_cache=False)
            count += tokens.numel()
    finally:
        for handle in handles:
            handle.remove()
    return {name: value / count for name, value in total.items()}
