"""All-pairs Pearson correlation of sparse features: `matching.correlate` against a dense product and the double loop.

The activations are drawn, not measured: 1 M tokens of two SAEs with 16,384 features would be hours of training. L0 is
uniform between two bounds; how often a feature fires is log-normal, as with trained SAEs a few fire on a fifth of all
tokens and most on less than one in a thousand. Cost depends on where the activations lie, not on their values.
"""

import functools
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from benchmarks import harness
from unifeat import lm, matching

SPREAD = 1.5  # of the logarithm of a feature's firing rate


def draw(tokens: int, n: int, l0: tuple[int, int], seed: int) -> sparse.csr_matrix:
    """CSR (tokens, n), float32: every token has l0[0] to l0[1] draws of features, one drawn twice counts once.

    >>> draw(100, 50, (4, 4), 0).shape
    (100, 50)
    """
    rng = np.random.default_rng(seed)
    rates = np.cumsum(rng.lognormal(0, SPREAD, n))
    parts = []
    for start in range(0, tokens, 65536):
        sizes = rng.integers(l0[0], l0[1] + 1, min(65536, tokens - start))
        columns = np.minimum(np.searchsorted(rates, rng.random(sizes.sum()) * rates[-1]), n - 1).astype(np.int32)
        part = sparse.csr_matrix((rng.exponential(size=len(columns)).astype(np.float32), columns,
                                  np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)), shape=(len(sizes), n))
        part.sum_duplicates()
        parts.append(part)
    return sparse.vstack(parts, format="csr")


def pair(folder: Path, tokens: int, n: int, l0: tuple[int, int]) -> list[Path]:
    """Two drawn matrices in `folder`, as .npz."""
    found = []
    for seed in (0, 1):
        path = folder / f"drawn-{tokens}-{n}-{l0[0]}-{l0[1]}-{seed}.npz"
        if not path.is_file():
            sparse.save_npz(path.with_suffix(".part.npz"), draw(tokens, n, l0, seed), compressed=False)
            path.with_suffix(".part.npz").rename(path)
        found.append(path)
    return found


def exact(a, b, size: int) -> np.ndarray:
    """Pearson by numpy in float64, dense, of the `size` most frequent features of each side."""
    a, b = (m[:, _frequent(m, size)].toarray().astype(np.float64) for m in (a, b))
    return np.corrcoef(a, b, rowvar=False)[:size, size:]


def _frequent(m, size: int) -> np.ndarray:
    return np.argsort(-np.bincount(m.indices, minlength=m.shape[1]), kind="stable")[:size]


def alone(paths: list[str], check: int) -> dict:
    """`correlate` on two saved matrices, in a process of its own: seconds, peak memory (GiB), error on a block."""
    a, b = (sparse.load_npz(path) for path in paths)
    before = peak_gib()
    start = time.perf_counter()
    r = matching.correlate(a, b)
    taken, peak = time.perf_counter() - start, peak_gib()
    error = np.abs(r[np.ix_(_frequent(a, check), _frequent(b, check))] - exact(a, b, check)).max()
    products = float((np.diff(a.indptr).astype(float) * np.diff(b.indptr)).sum())
    return dict(seconds=taken, peak_gib=peak, loaded_gib=before, max_error=float(error), products=products,
                l0=[m.nnz / m.shape[0] for m in (a, b)])


def peak_gib() -> float:
    """Most memory that this process has held, in GiB. (Linux hands a parent's ru_maxrss on to its children.)"""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def gemm(a, b, rows: int, chunks: int) -> float:
    """Seconds of the dense float32 sum of products over all tokens, extrapolated from `chunks` of `rows` tokens.

    Only the products are timed: neither that the matrices are made dense, nor sums and division.
    """
    device = lm.device()
    total = torch.zeros(a.shape[1], b.shape[1], device=device)
    x, y = (torch.from_numpy(m[:rows].toarray()).to(device) for m in (a, b))
    return harness.seconds(lambda: torch.addmm(total, x.T, y, out=total), chunks) * a.shape[0] / len(x)


def double_loop(a, b, pairs: int) -> float:
    """Seconds of np.corrcoef on every pair of features, extrapolated from `pairs` of them, already dense."""
    x, y = (m[:, _frequent(m, 8)].toarray() for m in (a, b))

    def some():
        for i in range(pairs):
            np.corrcoef(x[:, i % 8], y[:, i // 8 % 8])

    return harness.seconds(some, 1) / pairs * a.shape[1] * b.shape[1]


def compare(tokens: int, n: int, l0: tuple[int, int], check: int = 64, pairs: int = 32, rows: int = 2048) -> list[dict]:
    """Rows: what, seconds, ratio of ours to it; ours with peak memory and error, the others how they were timed."""
    paths = pair(harness.scratch(), tokens, n, l0)
    command = [sys.executable, "-m", "benchmarks.bench_matching", json.dumps([[str(path) for path in paths], check])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True,
                                      cwd=Path(__file__).parent.parent).stdout)
    harness.say(f"  ours: {found['seconds']:.1f} s, {found['peak_gib']:.1f} GiB, error {found['max_error']:.0e}")
    a, b = (sparse.load_npz(path) for path in paths)
    out = [dict(what="ours", how="in full", **found, void=found["max_error"] > 1e-6)]
    out.append(dict(what="dense float32 product", seconds=gemm(a, b, min(rows, tokens), 3),
                    how=f"extrapolated from blocks of {rows:,} tokens"))
    out.append(dict(what="np.corrcoef per pair", seconds=double_loop(a, b, pairs), how=f"extrapolated from {pairs}"))
    for row in out:
        row["ratio"] = row["seconds"] / out[0]["seconds"]
        harness.say(f"  {row['what']}: {row['seconds']:,.1f} s ({row['how']})")
    for path in paths:
        path.unlink()
    return out


def scaling(tokens: list[int], features: list[int], l0: list[int], repeats: int = 3) -> list[dict]:
    """Rows: by (tokens, features or l0), value, seconds; the other two at the middle of their list."""
    middle = dict(tokens=tokens[len(tokens) // 2], features=features[len(features) // 2], l0=l0[len(l0) // 2])
    out = []
    for by, values in dict(tokens=tokens, features=features, l0=l0).items():
        for value in values:
            at = middle | {by: value}
            a, b = (draw(at["tokens"], at["features"], (at["l0"], at["l0"]), seed) for seed in (0, 1))
            taken = harness.seconds(functools.partial(matching.correlate, a, b), repeats)
            out.append(dict(by=by, value=value, seconds=taken, **{key: item for key, item in at.items() if key != by}))
    return out


def run() -> list[dict]:
    """The paper's number of features over 1 M tokens, and the curves."""
    small = harness.quick()
    full = dict(tokens=8192, n=512, l0=[8, 16]) if small else dict(tokens=1_000_000, n=16_384, l0=[32, 64])
    curves = (dict(tokens=[2048, 4096], features=[256, 512], l0=[4, 8]) if small else
              dict(tokens=[1 << i for i in range(14, 20)], features=[1 << i for i in range(9, 14)],
                   l0=[8, 16, 32, 64]))
    return [harness.measured("matching", full, lambda: compare(full["tokens"], full["n"], tuple(full["l0"]))),
            harness.measured("matching_scaling", curves, lambda: scaling(**curves))]


if __name__ == "__main__":
    print(json.dumps(alone(*json.loads(sys.argv[1]))))
