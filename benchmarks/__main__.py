"""`python -m benchmarks`: every benchmark, then figure and README.md; what has been measured already is kept."""

import os
import sys

from benchmarks import bench_features, bench_lm, bench_matching, bench_sae, machine, report
from unifeat.pipeline.commands import KERNEL

if not KERNEL.keys() <= os.environ.keys():  # what `make figures` runs with, for ours and for every peer
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks"], KERNEL | os.environ)
for bench in (machine, bench_lm, bench_sae, bench_matching, bench_features):
    bench.run()
report.run()
