"""Every benchmark's functions on tiny sizes, without the peers' environments; nothing is timed against a limit."""

import dataclasses
import doctest
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import (
    bench_features,
    bench_lm,
    bench_matching,
    bench_sae,
    check_processors,
    harness,
    machine,
    peers,
    report,
)
from unifeat import lineage, lm, matching, sae

FIGURES = Path(__file__).parent.parent / "figures"


@pytest.mark.parametrize("module", [bench_features, bench_lm, bench_matching, bench_sae, check_processors, harness])
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def test_two_runs_are_compared_if_they_are_of_one_lineage(tmp_path, capsys):
    ladder = "group,comparison,rule,observed,ci_low,ci_high,excess,excess_low,excess_high,ceiling,null\n"
    for name, share in (("a", 0.5), ("b", 0.7)):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / "ladder.csv").write_text(f"{ladder}edges,x,one_to_one,{share},0.4,0.6,,,,0.9,0.0\n")
        (tmp_path / name / "manifest.json").write_text(json.dumps(
            dict(lineage={}, corpora=[], device=f"cpu {name}", commit=name)))
    check_processors.main([tmp_path / "a", tmp_path / "b"])
    found = json.loads(capsys.readouterr().out)
    assert found["runs"][1] == dict(device="cpu b", commit="b") and found["rows"][0]["within"] == [True, False]
    assert found["rows"][0]["ceiling"] == [0.9, 0.9] and found["rows"][0]["null"] == [0.0, 0.0]
    assert found["controls"] == []
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(dict(lineage={}, corpora=[1], device="", commit="")))
    for names, problem in (("ab", "different lineages or texts"), ("a", "not 1"), ("ac", "c holds no manifest.json")):
        with pytest.raises(SystemExit, match=problem):
            check_processors.main([tmp_path / name for name in names])


def test_two_runs_controls_stand_side_by_side(capsys):
    check_processors.main([FIGURES, FIGURES])
    controls = json.loads(capsys.readouterr().out)["controls"]
    ran = list(Path(FIGURES).glob("control_*.png"))  # all of them, or none where they have not run on these models
    assert len(controls) == len(ran) and all(one == other for one, other in controls)
    assert not ran or controls[1][0].startswith("Threshold: ")


@pytest.fixture
def job(tmp_path):
    """Activations on 4 directions of 16, and a trainer's job on them."""
    rng = np.random.default_rng(0)
    x = (rng.exponential(size=(2048, 4)) @ rng.normal(size=(4, 16))).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return dict(activations=str(tmp_path / "x.npy"), device="cpu", d=16, width=32, k=4, batch=256, steps=40, lr=1e-2,
                warmup=4, decay=0.3, beta2=0.99)


def rows_of(run, path, monkeypatch):
    """What `harness.measured` keeps of `run`, without the repository's own results."""
    monkeypatch.setattr(harness, "results", lambda: path)
    return harness.measured("x", dict(a=1), run)


def test_limits_are_positive():
    rows = machine.rows(n=64, values=1 << 12, repeats=1)
    assert {row["what"] for row in rows} == {"gemm_float32", "gemm_bfloat16", "copy", "triad"}
    assert all(row["value"] > 0 for row in rows)


def test_a_result_is_measured_once_and_again_when_it_is_of_another_machine(tmp_path, monkeypatch):
    calls = []

    def run():
        calls.append(1)
        return [dict(what="ours")]

    first = rows_of(run, tmp_path, monkeypatch)
    assert rows_of(run, tmp_path, monkeypatch) == first and len(calls) == 1
    monkeypatch.setattr(harness, "machine", lambda: dict(cores=99))
    assert rows_of(run, tmp_path, monkeypatch)["machine"] == dict(cores=99) and len(calls) == 2


def test_the_trainer_and_our_loop_reach_the_same_loss():
    p = lineage.read("smoke")
    config = dataclasses.replace(p.models["base"].train, text=("english",), weights=(1.0,), batch=8, warmup=2,
                                 tokens=8 * 16 * 6)
    blocks = np.random.default_rng(0).integers(1, 50, (40, 1)).repeat(16, axis=1)  # one token, repeated: learnt at once
    start = lm.build(dataclasses.replace(p.model, d_model=16, d_mlp=32), 50, 16)
    before = lm.evaluate(start, blocks)["loss_nats"]
    own, other = bench_lm.compare(start, dict(english=blocks), blocks, config, 1, {"Trainer": {}})
    assert own["loss"] < before - 0.01 and not other["void"] and own["ratio"] == 1
    assert other["loss"] == pytest.approx(own["loss"], rel=0.002)


def test_operations_are_six_per_weight_of_a_product_and_attentions_own():
    p = lineage.read("smoke")
    model = lm.build(p.model, p.corpora.vocab, p.corpora.context)
    weights = sum(value.numel() for name, value in model.named_parameters() if value.ndim > 1 and "embed" not in name)
    assert bench_lm.operations(p) == 6 * weights + 6 * p.model.d_model * p.corpora.context


def test_our_sae_learns_the_job_and_its_weights_mean_what_the_evaluator_thinks(job):
    x = torch.from_numpy(np.load(job["activations"]))
    seconds, weights = bench_sae.ours(job)
    own = sae.Sae("topk", job["k"], **weights, scale=1.0)
    expected = ((x - own.decode(own.encode(x))).square().sum() / (x - x.mean(0)).square().sum()).item()
    assert len(seconds) == job["steps"] and bench_sae.fvu(weights, job["k"], x) == pytest.approx(expected, rel=0.05)
    assert bench_sae.fvu(weights, job["k"], x) < 0.5


def test_all_trainers_draw_the_same_batches(job):
    one, two = (list(peers.Batches(job).draw()) for _ in range(2))
    assert len(one) == job["steps"] + 1 and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(torch.unique(torch.cat(one[:8]), dim=0)) == 2048  # a pass uses every row once


def test_a_peer_that_fails_is_a_row_with_its_reason(job, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such package")

    monkeypatch.setattr(bench_sae, "theirs", fail)
    own, other = bench_sae.compare(job, torch.from_numpy(np.load(job["activations"])), [("saelens", "SAELens", {})])
    assert own["ratio"] == 1 and other == dict(what="SAELens", error="no such package")
    assert [row["width"] for row in bench_sae.widths(job, [32, 64])] == [32, 64]


def test_drawn_activations_have_the_asked_l0_and_the_exact_reference_agrees(tmp_path):
    a, b = (bench_matching.draw(3000, 40, (6, 6), seed) for seed in (0, 1))
    assert 3 < a.nnz / 3000 <= 6 and a.data.min() > 0
    r = matching.correlate(a, b)
    block = r[np.ix_(bench_matching._frequent(a, 8), bench_matching._frequent(b, 8))]
    np.testing.assert_allclose(block, bench_matching.exact(a, b, 8), atol=1e-12)
    assert bench_matching.gemm(a, b, 512, 1) > 0 and bench_matching.double_loop(a, b, 2) > 0
    found = bench_matching.alone([str(path) for path in bench_matching.pair(tmp_path, 3000, 40, (6, 6))], 8)
    assert found["max_error"] < 1e-12 and found["peak_gib"] >= found["loaded_gib"] > 0
    assert {row["by"] for row in bench_matching.scaling([100], [20], [3], repeats=1)} == {"tokens", "features", "l0"}


def test_one_pass_over_features_gives_what_the_loop_gives(job):
    from unifeat.sae import features

    x = torch.from_numpy(np.load(job["activations"]))
    own = sae.Sae("topk", job["k"], **bench_sae.ours(job)[1], scale=1.0)
    densities, tops = bench_features.one_pass(features.encode(own, x))
    expected, order = bench_features.per_feature(own, x, own.width)
    np.testing.assert_allclose(densities, expected)
    assert all(np.array_equal(mine, other) for mine, other in zip(tops, order, strict=True))
    assert {row["tokens"] for row in bench_features.compare(own, x, [512, 1024], 1)} == {512, 1024}


def result(rows, **settings) -> dict:
    here = dict(processor="a processor", cores=2, gpu=None, dtype="bfloat16")
    return dict(rows=rows, settings=settings, machine=here)


def test_the_table_says_what_is_void_and_what_failed(tmp_path):
    training = [dict(what="ours", activations_per_s=300.0, fvu=0.2, ratio=1.0, void=False),
                dict(what="SAELens, defaults", activations_per_s=100.0, fvu=0.1, ratio=3.0, void=True),
                dict(what="SAELens, tuned, bf16", activations_per_s=150.0, fvu=0.2, ratio=2.0, void=False),
                dict(what="sparsify, defaults", error="no such package")]
    limits = [dict(what=what, value=value) for what, value in (("gemm_float32", 0.5), ("gemm_bfloat16", 1.0),
                                                               ("triad", 9.0))]
    results = dict(machine=result(limits, n=4096), sae_laptop=result(training, size="laptop", operations=1e9))
    for name, content in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    text = report.table(report.load(tmp_path))
    assert "| SAE, laptop | 300 activations/s, 30% of the product's rate | SAELens, defaults | 100 | 3.0 | **vo" in text
    assert "|  |  | SAELens, tuned, bf16 | 150 | 2.0 | fvu 0.200 / 0.200" in text
    assert "Did not run here: sparsify, defaults (laptop): no such package." in text
    both = report.summary({"one": report.load(tmp_path), "two": {name: results[name] for name in ("machine",)}})
    assert "| job | ours, and its ratio to | a processor, 2 cores | a processor, 2 cores |" in both
    assert "|  | SAELens, defaults | **void** |  |\n|  | SAELens, tuned, bf16 | 2.0 |  |\n" in both
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.MARKERS[0]}\nold\n{report.MARKERS[1]}\nafter\n")
    report.refresh(readme, text)
    assert readme.read_text() == f"before\n{report.MARKERS[0]}\n{text}{report.MARKERS[1]}\nafter\n"


def test_the_figure_shows_every_variant_and_hollow_ones_where_quality_differs():
    rows = [dict(what=name, tokens_per_s=rate, activations_per_s=rate, void=name == "slow", ratio=300 / rate)
            for name, rate in (("ours", 300.0), ("fast", 200.0), ("slow", 100.0))]
    limits = [dict(what=what, value=1.0) for what in ("gemm_float32", "gemm_bfloat16", "triad")]
    curve = [dict(by=by, value=value, seconds=value / 10) for by in ("tokens", "features", "l0") for value in (1, 2)]
    results = dict(
        machine=result(limits, n=4096), lm_laptop=result(rows, size="laptop", operations_per_token=1e9),
        sae_paper=result(rows, size="paper", operations=1e9), matching_scaling=result(curve),
        matching=result([dict(what="ours", seconds=2.0, ratio=1), dict(what="dense", seconds=90.0, ratio=45)], n=64),
        sae_widths=result([dict(width=64, seconds_per_million=3.0)], d=16),
        features=result([dict(tokens=10, what="encoding alone", seconds=0.5)]))
    fig = report.draw(results)
    language = fig.axes[0]
    assert [label.get_text() for label in language.get_yticklabels()] == ["ours", "fast", "slow"]
    assert [line.get_markerfacecolor() == "white" for line in language.lines[:3]] == [False, False, True]
    assert "30%" in [text.get_text() for text in language.texts]
