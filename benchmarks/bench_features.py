"""Densities and top contexts of all features of one SAE: one pass against the obvious loop over features."""

import numpy as np
import torch

from benchmarks import bench_sae, harness, peers
from unifeat import lm, sae
from unifeat.lineage.run import open_run
from unifeat.sae import features

TOP = 20  # contexts per feature


def one_pass(f) -> tuple[np.ndarray, list[np.ndarray]]:
    """Density (width,) and the TOP strongest tokens of every feature, from the latents f (tokens, width), CSR."""
    columns = f.tocsc()
    return features.fires(f) / f.shape[0], [features.top_tokens(columns, i, TOP) for i in range(f.shape[1])]


def per_feature(one: sae.Sae, x: torch.Tensor, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same for the first `count` features, each looked up in all latents anew, chunk by chunk."""
    densities, tops = [], []
    for i in range(count):
        column = torch.cat([one.encode(rows)[:, i] for rows in x.split(8192)])
        fires = int((column > 0).sum())
        densities.append(fires / len(x))
        tops.append(torch.argsort(column, descending=True, stable=True)[:min(TOP, fires)].cpu().numpy())
    return np.array(densities), tops


def sliced(f, count: int) -> None:
    """The loop over columns of the stored latents, the first `count` of them."""
    for i in range(count):
        column = f[:, [i]].toarray().ravel()
        np.count_nonzero(column), np.argsort(-column, kind="stable")[:TOP]


def compare(one: sae.Sae, x: torch.Tensor, tokens: list[int], count: int = 2) -> list[dict]:
    """Rows: tokens, what, seconds, ratio to the one pass; the loops are extrapolated from `count` features."""
    out = []
    for n in tokens:
        rows = x[:n]
        f = features.encode(one, rows)
        encode = harness.seconds(lambda rows=rows: one.encode(rows[:65536])) * n / min(n, 65536)
        taken = {"encoding alone": encode,
                 "encoding, densities, top contexts": harness.seconds(
                     lambda rows=rows: one_pass(features.encode(one, rows)), 1, warm=False),
                 "loop over stored latents": harness.seconds(lambda f=f: sliced(f, 4 * count), 1) * one.width
                 / (4 * count)}
        if n == tokens[0]:
            taken["loop that encodes anew"] = harness.seconds(
                lambda rows=rows: per_feature(one, rows, count), 1) * one.width / count
        whole = taken["encoding, densities, top contexts"]
        out += [dict(tokens=n, what=name, seconds=value, ratio=value / whole) for name, value in taken.items()]
        harness.say(f"  {n:,} tokens: " + ", ".join(f"{name} {value:.2f} s" for name, value in taken.items()))
    return out


def run() -> dict:
    """An SAE of the laptop's size, trained for a few steps, on activations of the laptop's first model."""
    small = harness.quick()
    on = open_run("smoke" if small else "laptop")
    size = 1 << 13 if small else 1 << 17
    train, _ = bench_sae.activations(on, size)
    p = on.lineage.sae
    tokens = [size // 4, size // 2, size] if small else [size // 4, size // 2, size, 8 * size]
    settings = dict(width=p.width, k=p.k, d=on.lineage.model.d_mlp, tokens=tokens, top=TOP)

    def measure():
        job = dict(activations=str(train), device=lm.device().type, d=on.lineage.model.d_mlp, width=p.width, k=p.k,
                   batch=p.batch, steps=4 if small else 40, warmup=2, decay=p.decay, beta2=p.beta2, lr=p.lr)
        _, weights = bench_sae.ours(job)
        one = sae.Sae("topk", p.k, **{name: value.to(lm.device()) for name, value in weights.items()}, scale=1.0)
        x = torch.from_numpy(np.load(train)).to(lm.device())
        return compare(one, x.repeat(-(-tokens[-1] // len(x)), 1), tokens)

    return harness.measured("features", settings, measure, bench_sae.ours, peers.main)
