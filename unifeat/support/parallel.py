"""Several long pieces of work side by side: each on its share of a CPU's cores, with one progress bar for all."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import torch
from tqdm import tqdm

from unifeat.support import resources

# torch takes every core it sees; where a container has less time than that, its threads would stop each other.
torch.set_num_threads(min(torch.get_num_threads(), resources.cores()))


class Stopped(Exception):
    """Another piece of the work failed or was interrupted; this one ends early."""


class Bar(tqdm):
    """A progress bar that several threads advance, and that ends them at their next step once `stop` is set."""

    def __init__(self, *args, **options):
        self.stop = Event()
        super().__init__(*args, **options)

    def update(self, n: float = 1) -> None:
        """Advance by n; raises `Stopped` where work has ended elsewhere."""
        if self.stop.is_set():
            raise Stopped
        super().update(n)

    def skip(self, n: float) -> None:
        """Count n as done in an earlier run: it says nothing of this one's rate."""
        if not self.disable:  # a bar that is off (TQDM_DISABLE) has no `initial`
            self.initial += n
            self.n += n


def side_by_side(work: Callable[[object, Bar], object], names: Iterable, total: float, description: str,
                 most: int | None = None) -> None:
    """work(name, bar) for each of `names`: on a CPU as many at once as there are cores, on a GPU one after another.

    Small steps leave the second core of a pair idle a third of the time; two steps on one core each do not, and what
    they compute does not depend on how the machine shares out a step.
    total: tokens of all the work together, for the bar; most: so many at once and at most a core each, wherever the
    models are (for work that the CPU does).
    """
    names = list(names)
    with (Bar(total=total, desc=description, unit="tok", unit_scale=True, mininterval=1, delay=1) as bar,
          _pool(len(names), most) as pool):
        jobs = [pool.submit(work, name, bar) for name in names]
        try:
            for job in jobs:
                job.result()
        finally:
            bar.stop.set()
            for job in jobs:
                job.cancel()


def spread(work: Callable, items: Iterable, most: int | None = None) -> Iterator:
    """work(item) of each, in order; as many at once as with `side_by_side`."""
    items = list(items)
    if len(items) < 2:
        yield from map(work, items)
        return
    with _pool(len(items), most) as pool:
        yield from pool.map(work, items)


@contextlib.contextmanager
def _pool(count: int, most: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads for `count` pieces of work, each on its share of the cores, on a GPU one; torch's are restored."""
    threads = torch.get_num_threads()
    most = most or (1 if torch.cuda.is_available() else threads)
    workers = max(1, min(count, threads, most))
    with limited(threads), ThreadPoolExecutor(workers, initializer=torch.set_num_threads,
                                              initargs=(threads // workers,)) as pool:
        yield pool


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Within the context torch uses so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
