"""The machine's own limits: rate of a 4,096^3 matrix product in float32 and bfloat16, and memory bandwidth."""

import torch

from benchmarks import harness
from unifeat import lm


def gemm(dtype: torch.dtype, n: int, repeats: int) -> float:
    """TFLOP/s of an n x n by n x n product in `dtype`: 2 n^3 operations over the median time."""
    a, b = (torch.randn(n, n, device=lm.device()).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / harness.seconds(lambda: torch.mm(a, b, out=out), repeats) / 1e12


def bandwidth(values: int, repeats: int) -> tuple[float, float]:
    """GB/s of copy (a = b, two passes) and triad (a = b + 3 c, three) over float32 arrays of `values`."""
    a, b, c = (torch.ones(values, device=lm.device()) for _ in range(3))
    copy = harness.seconds(lambda: a.copy_(b), repeats)
    triad = harness.seconds(lambda: torch.add(b, c, alpha=3, out=a), repeats)
    return 8 * values / copy / 1e9, 12 * values / triad / 1e9


def rows(n: int, values: int, repeats: int) -> list[dict]:
    """The limits, one row each: what, value, unit."""
    out = [dict(what=f"gemm_{name}", value=gemm(dtype, n, repeats), unit="TFLOP/s")
           for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))]
    copy, triad = bandwidth(values, repeats)
    return [*out, dict(what="copy", value=copy, unit="GB/s"), dict(what="triad", value=triad, unit="GB/s")]


def run() -> dict:
    """Measure, or keep; arrays of 1 GB, so that no cache holds them."""
    settings = dict(n=512, values=1 << 22, repeats=3) if harness.quick() else dict(n=4096, values=1 << 28, repeats=7)
    return harness.measured("machine", settings, lambda: rows(**settings))


def limits(found: dict) -> dict:
    """{what: value} of the rows of `run`."""
    return {row["what"]: row["value"] for row in found["rows"]}
