"""What all benchmarks share: timing, the machine's description, results that are measured once and kept."""

import importlib.metadata
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from unifeat import lm
from unifeat.pipeline import notebook_cache
from unifeat.support import code, paths, store

PACKAGES = ("torch", "transformers", "numpy", "scipy")


def quick() -> bool:
    """Whether QUICK=1 asks for small sizes: a check that all runs, not a measurement."""
    return os.environ.get("QUICK", "") not in ("", "0")


def results() -> Path:
    """This machine's folder in benchmarks/results, or with QUICK=1 one outside the repository's files."""
    if quick():
        return paths.ROOT / "build" / "bench" / "quick"
    return Path(__file__).parent / "results" / re.sub("[^a-z0-9]+", "-", short(machine()).lower())


def scratch() -> Path:
    """Activations, weights of peers and the like, made anew when missing."""
    folder = paths.ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(text: str) -> None:
    """A line of progress, at once."""
    print(text, flush=True)


def wait() -> None:
    """Until the accelerator has done what was asked of it; a CPU always has."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable, repeats: int = 3, warm: bool = True) -> float:
    """Median wall-clock seconds of `run()` over `repeats` calls, after one that is not counted unless warm is False."""
    if warm:
        run()
    taken = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def machine() -> dict:
    """Processor, cores, memory (GB) and device that a result was measured on."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(processor=_processor(), cores=os.cpu_count(), memory_gb=round(pages / 1e9), gpu=gpu,
                threads=torch.get_num_threads(), dtype=str(lm.compute_dtype()).removeprefix("torch."))


def short(here: dict) -> str:
    """A name for a `machine`: its GPU, or its processor with the best of its units for products; cores.

    >>> short(dict(gpu=None, processor="Intel(R) Xeon(R) Processor avx2 avx512f amx_bf16", cores=2))
    'Intel Xeon, amx_bf16, 2 cores'
    """
    words = re.sub(r"\(\w+\)| Processor", "", here["processor"]).split()
    units = [word for word in words if word.startswith(("avx", "amx"))]
    name = here["gpu"] or ", ".join([" ".join(words[:len(words) - len(units)]), *units[-1:]])
    return f"{name}, {here['cores']} cores"


def _processor() -> str:
    """Maker, model and the vector and matrix units that matter here (virtual machines hide the name)."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", platform.machine()), *units])


def measured(name: str, settings: dict, measure: Callable[[], list[dict]], *functions) -> dict:
    """The result `name`: kept if it was measured with these settings and this code on this machine, else measured now.

    measure() returns rows, plain dicts. Its module's code and what that imports of unifeat's science are part of the
    key, and those of `functions` of other benchmarks that it uses.
    """
    path = results() / f"{name}.json"
    here = machine()
    key = store.digest(name, settings, here, code.version(measure, seconds, *functions))
    if path.is_file() and (found := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
        say(f"{name}: kept from {path.name}")
        return found
    start = time.perf_counter()
    say(f"{name}: measuring ...")
    rows = measure()
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    found = dict(bench=name, key=key, settings=settings, machine=here, versions=versions,
                 commit=notebook_cache.commit(), seconds=round(time.perf_counter() - start, 1), rows=rows)
    store.write_text(path, json.dumps(found, indent=1) + "\n")
    say(f"{name}: {found['seconds']:.0f} s")
    return found
