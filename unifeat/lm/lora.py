"""Fine-tuning by low-rank adapters (LoRA; Hu et al. 2022, arXiv 2106.09685), through peft."""

import warnings

import torch


def add(model, rank: int, seed: int = 0) -> int:
    """Put an adapter of `rank` on every linear layer but the head, in place; returns how many weights it trains.

    All other weights are frozen. The scale is alpha / rank = 2, as is usual.
    """
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # that GPT-2's layers are turned round; peft knows
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"), model)
    return sum(one.numel() for one in model.parameters() if one.requires_grad)


def merge(model) -> None:
    """Add the adapters to the weights that they stand beside, in place; the model is then of its old classes."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            above, _, last = name.rpartition(".")
            setattr(model.get_submodule(above), last, module.get_base_layer())
    model.requires_grad_(True)
