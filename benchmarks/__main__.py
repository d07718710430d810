"""`python -m benchmarks`: every benchmark, then the figure and the README's table; what is measured already is kept."""

from benchmarks import bench_features, bench_lm, bench_matching, bench_sae, machine, report

for bench in (machine, bench_lm, bench_sae, bench_matching, bench_features):
    bench.run()
report.run()
