"""What a track will take: its parts tried for a moment, times how much of each there is, less what the store holds."""

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from unifeat import lm, matching
from unifeat.lineage import given
from unifeat.sae import training
from unifeat.studies import baselines
from unifeat.track.runs import TrackRun, activation_width

COMPARISONS = 8 * 3  # of features, each with its null and its intervals


class _Missing(Exception):
    """The store lacks a result."""


class _Looking(TrackRun):
    """The run, but what the store lacks is not made."""

    def compute(self, name, build, folder):
        """Refuse."""
        raise _Missing


def sentence(run: TrackRun) -> str:
    """An estimate in words, with what will be compared."""
    p = run.lineage
    sizes = (f"{_parameters(run) / 1e6:.1f} M parameters, {p.sae.hook}, dictionaries of {p.sae.width:,} features, "
             f"{p.sae.tokens:,} activations each, compared on {p.comparison.tokens * len(p.domains):,} tokens")
    missing, total = lacking(run)
    if not missing:
        return f"A few seconds ({sizes}): the SAEs are in the store."
    seconds = missing * _training(run) + matches(run)
    disk = 4 * _parameters(run) * 2 + 8 * p.sae.width * activation_width(p) * 5
    kept = f"; {total - missing} of {total} parts are in the store" if missing < total else ""
    return f"About {in_words(seconds)} ({sizes}), {disk / 1e9:.1f} GB of disk{kept}."


def in_words(seconds: float) -> str:
    """A time as one says it.

    >>> in_words(8), in_words(200)
    ('10 s', '3 min')
    """
    return f"{max(1, round(seconds / 60))} min" if seconds >= 90 else f"{max(5, 5 * round(seconds / 5))} s"


def lacking(run: TrackRun) -> tuple[int, int]:
    """How many of the SAEs' stages the store has not, and how many there are."""
    look = _Looking(run.lineage, run.root, run.figures, given=run.given)
    calls = [(look.sae_stage, name) for name in run.lineage.names] + [(baselines.random_saes, look)]
    missing = 0
    for call, argument in calls:
        try:
            call(argument)
        except _Missing:
            missing += 1
    return missing, len(calls)


def _parameters(run: TrackRun) -> int:
    return sum(value.numel() for value in given.skeleton(next(iter(run.given.values()))).parameters())


def _training(run: TrackRun) -> float:
    """Seconds of the SAEs of one model, their features included."""
    p, model = run.lineage, run.model(run.lineage.names[0])
    tokens = torch.from_numpy(np.asarray(run.corpus.blocks(p.domains[0], "train")[:8]).astype(np.int64))
    x = lm.activations(model, tokens.to(lm.device()), p.sae.hook).flatten(0, 1)[:p.sae.batch]
    trainers = [training.Trainer(training.init(p.sae, x.shape[1], seed, 1.0, x.float().mean(0)), p.sae)
                for seed in p.sae.seeds]
    forward = timed(lambda: lm.activations(model, tokens.to(lm.device()), p.sae.hook)) / tokens.numel()
    step = sum(timed(lambda one=one: one.update(x)) for one in trainers) / len(x)
    return p.sae.tokens * (1.05 * forward + step) + 2 * p.comparison.tokens * len(p.domains) * forward


def matches(run: TrackRun) -> float:
    """Seconds of all comparisons; Hungarian matching grows with nearly the third power of the features."""
    p, size = run.lineage, min(768, run.lineage.sae.width)
    rng, rows = np.random.default_rng(0), 4096
    a, b = (sparse.random(rows, size, p.sae.k / p.sae.width, "csr", random_state=rng) for _ in range(2))
    r = matching.correlate(a, b)
    pairing = timed(lambda: matching.match(r)) * (p.sae.width / size) ** 2.6
    summing = timed(lambda: matching.correlate(a, b)) * p.comparison.tokens * len(p.domains) / rows
    return COMPARISONS * (pairing + 3 * summing * p.sae.width / size) / min(2, torch.get_num_threads())


def timed(call: Callable) -> float:
    """Least seconds of two calls after one that warms up."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
