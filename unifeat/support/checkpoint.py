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
                names = file.keys()
                return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["state"])
        except SafetensorError:  # the disk lost it; the stage starts again
            return None

    def due(self) -> bool:
        """Whether `every` seconds have gone by since the last save."""
        return self.file is not None and time.monotonic() - self.saved >= self.every

    def save(self, tensors: dict[str, torch.Tensor], state: dict) -> None:
        """Replace the saved state by these tensors and JSON-able values."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, new,
                  {"state": json.dumps(state)})
        os.replace(new, self.file)
        self.saved = time.monotonic()


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
