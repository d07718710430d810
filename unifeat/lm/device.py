"""Where and how the sums are computed: the device, its number format."""

import contextlib

import torch


def device() -> torch.device:
    """CUDA where there is a GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster (CUDA Ampere and later, CPUs with AVX512-BF16), else float32.

    A fixed rule and not a timing, so that two runs on one machine take the same path.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def tiles() -> bool:
    """Whether the CPU multiplies bfloat16 in tiles (AMX): by far faster than it does anything else."""
    return torch.cpu._is_amx_tile_supported()


def autocast() -> contextlib.AbstractContextManager:
    """Matrix products in `compute_dtype`, everything else in float32."""
    dtype = compute_dtype()
    return torch.autocast(device().type, dtype, enabled=dtype != torch.float32)
