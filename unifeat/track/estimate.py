"""What a track will take: its parts tried for a moment, times how much of each there is, less what the store holds."""

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from unifeat import lm, matching
from unifeat.lineage import given
from unifeat.sae import Sae, training
from unifeat.studies import baselines
from unifeat.support import parallel
from unifeat.track.runs import TrackRun, activation_width

COMPARISONS = 8  # of two SAEs, about
EACH = 3  # times what correlating takes: with the null, and the intervals
PROGRAM = 8e8  # bytes of Python with torch and transformers
UNTRAINED = 0.6  # of a model's SAEs: one seed instead of two


class _Missing(Exception):
    """The store lacks a result."""


class _Looking(TrackRun):
    """The run, but what the store lacks is not made."""

    def compute(self, name, build, folder):
        """Refuse."""
        raise _Missing


def of_models(run: TrackRun) -> str:
    """An estimate in words for two models, with what will be compared."""
    p = run.lineage
    about = (f"{_parameters(run) / 1e6:.1f} M parameters, {p.sae.hook}, dictionaries of {p.sae.width:,} features, "
             f"{p.sae.tokens:,} activations each, compared on {_tokens(run):,} tokens")
    missing = lacking(run)
    if not missing:
        return f"A few seconds ({about}): the SAEs are in the store."
    some = len(missing) <= len(p.names)
    there = f"; the SAEs of {' and '.join(missing)} are not in the store" if some else ""
    parts = sum(UNTRAINED if name == "untrained" else 1 for name in missing)
    seconds = parts * _training(run) + _matching(run, p.sae.width, p.sae.k, COMPARISONS)
    disk = 8 * _parameters(run) + 8 * p.sae.width * activation_width(p) * 5
    return (f"About {in_words(seconds)}, {memory(run) / 1e9:.1f} GB of memory and {disk / 1e9:.1f} GB of disk ({about})"
            f"{there}.")


def of_saes(runs: tuple[TrackRun, ...], saes: list[Sae], comparisons: int) -> str:
    """An estimate in words for SAEs that exist; runs: of their models."""
    seconds = sum(_forward(run) * _tokens(run) for run in runs)
    seconds += _matching(runs[0], max(one.width for one in saes), max(one.k for one in saes) or 64, comparisons)
    hooks = " and ".join(dict.fromkeys(one.hook for one in saes))
    return (f"About {in_words(seconds)} where nothing is in the store ({hooks}, dictionaries of "
            f"{' and '.join(f'{one.width:,}' for one in saes)} features, compared on {_tokens(runs[0]):,} tokens).")


def memory(run: TrackRun) -> float:
    """Bytes while two models' SAEs are trained: models, Adam, activations in buffers and of the comparison text."""
    sae, d = run.lineage.sae, activation_width(run.lineage)
    each = 4 * _parameters(run) + 32 * len(sae.seeds) * sae.width * d + 8 * (sae.buffer + _tokens(run)) * d
    return PROGRAM + 2 * each


def in_words(seconds: float) -> str:
    """A time as one says it.

    >>> in_words(8), in_words(200)
    ('10 s', '3 min')
    """
    return f"{max(1, round(seconds / 60))} min" if seconds >= 90 else f"{max(5, 5 * round(seconds / 5))} s"


def lacking(run: TrackRun) -> list[str]:
    """The models, "untrained" among them, whose SAEs the store has not."""
    look = _Looking(run.lineage, run.root, run.figures, given=run.given)
    calls = {name: (look.sae_stage, name) for name in run.lineage.names} | {"untrained": (baselines.random_saes, look)}
    missing = []
    for name, (call, argument) in calls.items():
        try:
            call(argument)
        except _Missing:
            missing.append(name)
    return missing


def _tokens(run: TrackRun) -> int:
    return run.lineage.comparison.tokens * len(run.lineage.domains)


def _parameters(run: TrackRun) -> int:
    return sum(value.numel() for value in given.skeleton(next(iter(run.given.values()))).parameters())


def _sample(run: TrackRun) -> torch.Tensor:
    """A few blocks of text, as the model takes them."""
    blocks = np.asarray(run.corpus.blocks(run.lineage.domains[0], "train")[:8])
    return torch.from_numpy(blocks.astype(np.int64)).to(lm.device())


def _forward(run: TrackRun) -> float:
    """Seconds of a token through the model, up to the hook point."""
    model, tokens = run.model(run.lineage.names[0]).to(lm.device()), _sample(run)
    return timed(lambda: lm.activations(model, tokens, run.lineage.sae.hook)) / tokens.numel()


def _training(run: TrackRun) -> float:
    """Seconds of the SAEs of one model, their features included, where two models take a core each."""
    p, model = run.lineage, run.model(run.lineage.names[0]).to(lm.device())
    x = lm.activations(model, _sample(run), p.sae.hook).flatten(0, 1)[:p.sae.batch]
    trainers = [training.Trainer(training.init(p.sae, x.shape[1], seed, 1.0, x.float().mean(0)), p.sae)
                for seed in p.sae.seeds]
    both = 1 if torch.cuda.is_available() else min(2, torch.get_num_threads())
    with parallel.limited(max(1, torch.get_num_threads() // both)):
        forward, step = _forward(run), sum(timed(lambda one=one: one.update(x)) for one in trainers) / len(x)
    return (p.sae.tokens * (1.05 * forward + step) + 2 * _tokens(run) * forward) / both


def _matching(run: TrackRun, width: int, k: int, comparisons: int) -> float:
    """Seconds of all comparisons; Hungarian matching grows with nearly the third power of the features."""
    size, rows, rng = min(768, width), 4096, np.random.default_rng(0)
    a, b = (sparse.random(rows, size, min(1.0, k / width), "csr", random_state=rng) for _ in range(2))
    r = matching.correlate(a, b)
    pairing = timed(lambda: matching.match(r)) * (width / size) ** 2.6
    summing = timed(lambda: matching.correlate(a, b)) * _tokens(run) / rows * width / size
    return comparisons * (pairing + EACH * summing) / min(2, torch.get_num_threads())


def timed(call: Callable) -> float:
    """Least seconds of a call, tried for half a second after one that warms up."""
    call()
    taken = []
    while len(taken) < 2 or sum(taken) < 0.5:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
