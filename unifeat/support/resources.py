"""What a container or a cluster's job leaves this process of its machine."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

OWN, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")  # Linux: this process's control groups, and all


def cores() -> int:
    """Cores that this process may run on, and no more than its quota of their time would keep busy."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [*_numbers("cpu", "cpu.max"), *_numbers("cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us")]
    return min([free, *(math.ceil(time / period) for time, period in quotas if time > 0)])


def memory() -> int:
    """Bytes of memory that this process may hold: the machine's, or what it is limited to."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [*_numbers("memory", "memory.max"), *_numbers("memory", "memory.limit_in_bytes")]
    return min([whole, *(limit for limit, in limits)])


def _numbers(controller: str, *files: str) -> Iterator[list[int]]:
    """What `files` say in each control group (of version 1 or 2) that holds this process, where that is numbers."""
    with contextlib.suppress(OSError):
        for line in OWN.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = GROUPS / (controller if controllers else "")
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):  # in a container what is above its own group is not there
                with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
                    yield [int(number) for name in files for number in (folder / name).read_text().split()]
                if folder == root:
                    break
