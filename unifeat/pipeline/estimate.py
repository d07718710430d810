"""How long a run will take: time a few real steps of each part, then multiply by how often that part runs."""

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from unifeat import lm, matching
from unifeat.lineage.lineage import Lineage
from unifeat.lm import training
from unifeat.sae import training as sae_training
from unifeat.studies.persistence import HELD, workers
from unifeat.support import parallel

NOTEBOOKS = 80  # seconds that all notebooks take from a full store: kernels, figures, small tables (laptop)
BASE_MEMORY = 1.2e9  # bytes of a kernel with torch, transformers and text


def estimate(p: Lineage) -> dict:
    """seconds (per part: models, SAEs, matching, rest), memory and disk (bytes) of a run of `p` that trains everything.

    Meant to be within a factor of two. Disk is the store's; downloads and the environment come on top.
    """
    model, d = lm.build(p.model, p.corpora.vocab, p.corpora.context).to(lm.device()), p.model.d_mlp
    size, seeds = sum(value.numel() for value in model.parameters()), len(p.sae.seeds)
    forward = 1 / _seconds(lambda: lm.activations(model, _blocks(p, 16)), 3) * 16 * p.corpora.context  # tokens per s
    count, trained = len(p.names), {name: one.training for name, one in p.models.items() if one.training}
    saes, trainers = count * seeds, 1 if torch.cuda.is_available() else min(count, torch.get_num_threads())
    pairs = len(p.pairs) * seeds**2 + count * seeds * (seeds - 1) // 2
    seconds = dict(
        models=sum(one.tokens for one in trained.values()) / _language_model(model, p) if trained else 0.0,
        SAEs=p.sae.tokens * (saes + 1) * _sae(p, d, trainers) + 1.1 * p.sae.tokens * (count + 1) / forward,
        matching=pairs * _comparison(p) / workers(p.sae.width),
        rest=NOTEBOOKS + 3 * p.evaluation.tokens * (4 * p.merge.points + 90) / forward)
    tokens = p.comparison.tokens * len(p.domains)
    weights = 8 * p.sae.width * d
    memory = BASE_MEMORY + max(18 * size, trainers * (4 * p.sae.buffer * d + 5 * seeds * weights),
                               HELD * workers(p.sae.width) * 8 * p.sae.width**2)
    disk = count * 4 * size + (saes + 1) * weights + (saes + 1) * tokens * p.sae.k * 8 + 2e7
    return dict(seconds=seconds, memory=memory, disk=disk)


def sentence(found: dict) -> str:
    """An estimate in words.

    >>> sentence(dict(seconds=dict(models=600.0, SAEs=1200.0), memory=3e9, disk=5e8))
    'About 30 min (models 10, SAEs 20), 3.0 GB of memory and 0.5 GB of disk.'
    """
    parts = ", ".join(f"{name} {value / 60:.0f}" for name, value in found["seconds"].items())
    return (f"About {sum(found['seconds'].values()) / 60:.0f} min ({parts}), "
            f"{found['memory'] / 1e9:.1f} GB of memory and {found['disk'] / 1e9:.1f} GB of disk.")


def _seconds(run: Callable, repeats: int) -> float:
    """Least seconds of one call, after one that warms up."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _blocks(p: Lineage, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, p.corpora.vocab, (count, p.corpora.context), generator=generator).to(lm.device())


def _language_model(model, p: Lineage) -> float:
    """Tokens per second of training."""
    one = next(one.training for one in p.models.values() if one.training)
    config = dataclasses.replace(one, text=("text",), weights=(1.0,), evaluations=2)
    blocks, step = {"text": _blocks(p, 4 * config.batch).cpu().numpy()}, config.batch * p.corpora.context

    def steps(count):
        start = time.perf_counter()
        training.train(model, blocks, dataclasses.replace(config, tokens=count * step), {})
        return time.perf_counter() - start

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        steps(1)
        return 3 * step / max(1e-9, steps(4) - steps(1))


def _sae(p: Lineage, d: int, trainers: int) -> float:
    """Seconds per activation and SAE, several models at once where that is how they are trained."""
    x = torch.randn(p.sae.batch, d, device=lm.device(), generator=torch.Generator(lm.device()).manual_seed(0))
    active = p.sae.k + (p.sae.k_first - p.sae.k) * p.sae.k_anneal / 2  # latents, as a mean over all steps
    config = dataclasses.replace(p.sae, k_first=round(active))
    trainer = sae_training.Trainer(sae_training.init(config, d, 0, 1.0, x.mean(0)), config)
    with parallel.limited(max(1, torch.get_num_threads() // trainers)):
        return _seconds(lambda: trainer.update(x), 4) / p.sae.batch / trainers


def _comparison(p: Lineage) -> float:
    """Seconds of one comparison with its null on one core: correlations and one-to-one pairs are two thirds of it."""
    rng, taken, size = np.random.default_rng(0), [], min(1024, p.sae.width)
    with parallel.limited(1):
        for rows in (8192, 40_960):
            a, b = (sparse.csr_matrix((rng.random(rows * p.sae.k, dtype=np.float32) + 0.1,
                                       (np.repeat(np.arange(rows), p.sae.k),
                                        rng.integers(p.sae.width, size=rows * p.sae.k))), shape=(rows, p.sae.width))
                    for _ in range(2))
            taken.append(_seconds(lambda a=a, b=b: matching.correlate(a, b), 2))
        r = matching.correlate(a[:, :size], b[:, :size])
        paired = _seconds(lambda: matching.match(r), 2) * (p.sae.width / size)**2.6  # the power as measured
    return 3 * (paired + taken[0] + max(0.0, taken[1] - taken[0]) * p.comparison.tokens * len(p.domains) / 32_768)
