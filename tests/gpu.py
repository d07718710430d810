"""A GPU for a machine without one: tensors that say they are on CUDA and are computed on the CPU.

What CUDA refuses is refused: two devices in one operation, a GPU's tensor as a numpy array, a generator of the other
device. Nothing is said of CUDA's own kernels, their numbers or their speed.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import patches
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from unifeat import lm
from unifeat.support import parallel

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SAYS = {Tensor.device.__get__: CUDA, Tensor.is_cuda.__get__: True, Tensor.is_cpu.__get__: False}
BOTH = {Tensor.copy_, Tensor.to}  # may read from another device
INDEX = {Tensor.__getitem__, Tensor.__setitem__}  # the index may lie on the CPU
PLAIN = {torch.device, torch._C._nn._parse_to}  # are told of devices, but make no tensors


class OnGpu(torch.Tensor):
    """A tensor that says it is on CUDA."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return _call(func, args, kwargs or {})


class Gpu(TorchFunctionMode):
    """Makes tensors `OnGpu` that are asked for there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **kwargs or {}) if func in PLAIN else _call(func, args, kwargs or {})


class Generator(torch.Generator):
    """A generator that says on which device it is."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        made.where = torch.device(device).type
        return made


def _call(func, args, kwargs):
    """func(*args, **kwargs) as a machine with a GPU would have it."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = any(isinstance(x, OnGpu) for x in tensors)
    if there and func in SAYS:
        return SAYS[func]
    if there and func in (Tensor.numpy, Tensor.__array__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
    if there and func not in BOTH:
        bound = tree_leaves(args[0]) if func in INDEX else tensors
        if any(isinstance(x, Tensor) and not isinstance(x, OnGpu) and x.ndim for x in bound):
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 "
                               f"and cpu! ({func.__name__} of {[tuple(x.shape) for x in tensors]})")
    named = [CPU] if func is Tensor.cpu else [torch.device(x) for x in (kwargs.get("device"), *args)
                                              if isinstance(x, (str, torch.device)) and x is not args[0]]
    on = named[0].type if named else "cuda" if there and (func not in BOTH or isinstance(args[0], OnGpu)) else "cpu"
    if (generator := kwargs.get("generator")) is not None and generator.where != on:
        raise RuntimeError(f"Expected a '{on}' device type for generator but found '{generator.where}'")
    if on == "cuda":
        args = [CPU if isinstance(x, torch.device) else x for x in args]
        kwargs |= dict(device=CPU) if kwargs.get("device") is not None else {}
    with torch._C.DisableTorchFunction():
        if on == "cpu" and func in (Tensor.cpu, Tensor.to):
            args = [args[0].as_subclass(Tensor), *args[1:]]
        out = func(*args, **kwargs)
        return out if on != "cuda" else tree_map_only(
            Tensor, lambda x: x if isinstance(x, OnGpu) else x.as_subclass(OnGpu), out)


def _move(module, device):
    """Module.to(device): parameters stay the objects that they are, as optimizers need it."""
    for part in module.modules():
        for value in part._parameters.values():
            if value is not None and value.device != device:
                torch.utils.swap_tensors(value, torch.nn.Parameter(value.detach().to(device), value.requires_grad))
        for name, value in part._buffers.items():
            part._buffers[name] = None if value is None else value.to(device)
    return module


class Pool(ThreadPoolExecutor):
    """Threads that have the GPU too."""

    def __init__(self, workers, initializer, initargs):
        super().__init__(workers, initializer=lambda: (Gpu().__enter__(), initializer(*initargs)))


@contextlib.contextmanager
def present():
    """A context in which torch and unifeat find a GPU."""
    autocast = torch.autocast
    with contextlib.ExitStack() as stack:
        for where, name, value in (
                (torch.cuda, "is_available", lambda: True), (torch.cuda, "get_device_capability", lambda: (9, 0)),
                (torch.cuda, "synchronize", lambda: None), (torch, "Generator", Generator),
                *((module, name, lambda: CUDA) for module, name in patches.places(lm.device)),
                (torch, "autocast", lambda device, *args, **more: autocast("cpu", *args, **more)),
                (torch.nn.Module, "to", _move), (torch.nn.Module, "cpu", lambda module: _move(module, CPU)),
                (torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None),
                (parallel, "ThreadPoolExecutor", Pool)):
            stack.enter_context(mock.patch.object(where, name, value))
        stack.enter_context(Gpu())
        yield
