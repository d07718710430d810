"""The state of a long stage on disk, so that a killed one goes on where it stood, to the same bytes."""

import json
import os
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

EVERY = 30.0  # seconds between two saves: the most work that a kill can cost


class Checkpoint:
    """One file below `folder`/checkpoint, replaced as a whole; without a folder nothing is kept.

    The store wipes an unfinished stage's folder but for checkpoint/, and removes that when the stage is done.
    """

    def __init__(self, folder: Path | None, every: float = EVERY):
        self.file = folder and folder / "checkpoint" / "state.safetensors"
        self.every, self.saved = every, time.monotonic()

    def load(self) -> tuple[dict[str, torch.Tensor], dict] | None:
        """Tensors and plain values of the last save, or None."""
        if self.file is None or not self.file.is_file():
            return None
        try:
            with safe_open(self.file, "pt") as file:
                names, state, shared = file.keys(), *map(json.loads, map(file.metadata().get, ("state", "shared")))
                tensors = {name: file.get_tensor(name) for name in names}
                return tensors | {name: tensors[first] for name, first in shared.items()}, state
        except SafetensorError:  # the disk lost it; the stage starts again
            return None

    def due(self) -> bool:
        """Whether `every` seconds have gone by since the last save."""
        return self.file is not None and time.monotonic() - self.saved >= self.every

    def save(self, tensors: dict[str, torch.Tensor], state: dict) -> None:
        """Replace the saved state by these tensors and JSON-able values; tensors in one memory are kept once."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        firsts = {}
        shared = {name: first for name, value in tensors.items() if (first := firsts.setdefault(_memory(value), name))
                  != name}  # tied embeddings; safetensors refuses them
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items() if name not in shared},
                  new, {"state": json.dumps(state), "shared": json.dumps(shared)})
        os.replace(new, self.file)
        self.saved = time.monotonic()


def _memory(value: torch.Tensor) -> tuple:
    """What two tensors have in common that are the same numbers in the same memory."""
    return (value.data_ptr() or id(value), value.dtype, value.shape, value.stride())


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimizer's moments, named "optimizer.<parameter>.<moment>"."""
    return {f"optimizer.{number}.{name}": value for number, moments in optimizer.state_dict()["state"].items()
            for name, value in moments.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put the moments of `optimizer_tensors` back."""
    state = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".")
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
