"""Functions of unifeat replaced in every module that has imported them."""

import sys

import torch

from unifeat import lm


def places(function) -> list[tuple]:
    """(module, name) of every place in unifeat where `function` is known."""
    return [(module, name) for key, module in list(sys.modules.items()) if key.partition(".")[0] == "unifeat"
            for name, value in list(vars(module).items()) if value is function]


def replace(monkeypatch, function, new) -> None:
    """`new` in the place of `function`, until the test ends."""
    for module, name in places(function):
        monkeypatch.setattr(module, name, new)


def float32(monkeypatch) -> None:
    """All sums in float32, on any machine."""
    replace(monkeypatch, lm.compute_dtype, lambda: torch.float32)
