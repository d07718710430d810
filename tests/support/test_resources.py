"""Limits of containers and jobs, in folders laid out as Linux lays out its control groups."""

import os
import subprocess
import sys

import pytest

from unifeat.support import resources

FREE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
WHOLE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
V1 = "5:memory:/job\n3:cpu,cpuacct:/job/step\n1:name=systemd:/\n0::/elsewhere\n"
CASES = {  # /proc/self/cgroup, files of limits, cores, bytes of memory
    "none": ("0::/a/b\n", {}, FREE, WHOLE),
    "unlimited": ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, FREE, WHOLE),
    "a container": ("0::/\n", {"cpu.max": "50000 100000", "memory.max": "1000000"}, 1, 10**6),
    "more than there is": ("0::/\n", {"cpu.max": "99900000 100000", "memory.max": str(2**62)}, FREE, WHOLE),
    "a group around the own": ("0::/job/step\n", {"job/cpu.max": "100000 100000", "job/step/cpu.max": "max 100000",
                                                  "job/memory.max": "9", "job/step/memory.max": "8"}, 1, 8),
    "another's group": ("0::/mine\n", {"yours/cpu.max": "1 100000", "yours/memory.max": "1"}, FREE, WHOLE),
    "version 1": (V1, {"cpu/job/cpu.cfs_quota_us": "100000", "cpu/job/cpu.cfs_period_us": "100000",
                       "memory/job/memory.limit_in_bytes": "7"}, 1, 7),
    "version 1, unlimited": (V1, {"cpu/job/step/cpu.cfs_quota_us": "-1", "cpu/job/step/cpu.cfs_period_us": "100000",
                                  "memory/memory.limit_in_bytes": "9223372036854771712"}, FREE, WHOLE),
    "version 1 in a container": ("3:cpu,cpuacct:/docker/x\n", {"cpu/cpu.cfs_quota_us": "20000",
                                                              "cpu/cpu.cfs_period_us": "100000"}, 1, WHOLE),
}


@pytest.mark.parametrize("case", CASES)
def test_limits_of_containers_and_jobs_are_kept(tmp_path, monkeypatch, case):
    own, files, cores, memory = CASES[case]
    for name, text in {"own": own, **{f"groups/{name}": text for name, text in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n" * (name != "own"))
    monkeypatch.setattr(resources, "OWN", tmp_path / "own")
    monkeypatch.setattr(resources, "GROUPS", tmp_path / "groups")
    assert (resources.cores(), resources.memory()) == (cores, memory)


def test_without_control_groups_the_machine_is_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "OWN", tmp_path / "none")
    assert (resources.cores(), resources.memory()) == (FREE, WHOLE)


def test_torch_takes_no_more_threads_than_that():
    code = ("import torch; from unifeat.support import parallel, resources; "
            "print(torch.get_num_threads() == resources.cores())")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1000"}, check=True,
                          capture_output=True, text=True)
    assert done.stdout == "True\n"
