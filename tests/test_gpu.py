"""The whole pipeline where there is a GPU, as far as one without can tell: all tensors on the right device."""

import contextlib
import dataclasses

import gpu
import numpy as np
import patches
import pytest
import tiny
import torch

from unifeat import lineage, lm
from unifeat.autointerp import groups
from unifeat.explorer import collect
from unifeat.lineage.run import open_run
from unifeat.pipeline import estimate
from unifeat.sae import training
from unifeat.studies import case_studies, ladder, pair_agreement, persistence, sae_transfer, weight_matching

P = lineage.read("smoke")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="all other tests run on the GPU that is here")


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with gpu.present():
        a, b = torch.zeros(2, 3, device="cuda"), torch.randn(3, 4).to(lm.device())
        assert (a @ b).is_cuda and (a @ b).cpu().device == gpu.CPU and a[torch.tensor([0])].device == gpu.CUDA
        for wrong in (lambda: a @ torch.zeros(3, 4), lambda: torch.zeros(2)[a[:, 0] > 0], lambda: torch.add(a, b.cpu()),
                      lambda: torch.randn(3, device="cuda", generator=torch.Generator())):
            with pytest.raises(RuntimeError, match="same device|Expected a 'cuda'"):
                wrong()
        for wrong in (a.numpy, lambda: np.asarray(a)):
            with pytest.raises(TypeError, match="to numpy"):
                wrong()


def test_every_stage_runs_and_finds_what_a_cpu_finds(tmp_path, monkeypatch):
    given, found = tiny.make(tmp_path), {}
    for where in ("cpu", "cuda"):
        monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / where))
        run = open_run(*given)
        with gpu.present() if where == "cuda" else contextlib.nullcontext():
            assert lm.device().type == where
            run.train_models()
            run.train_saes()
            weight_matching.prepare(run)
            persistence.prepare(run, (weight_matching.shares,), (collect.data,))
            assert len(ladder.ladder(run)) and len(case_studies.partners(run)) and len(groups.lexical(run, "lua"))
            assert len(sae_transfer.swap(run)) and len(pair_agreement.pairs(run, run.compare(("base", 0), ("lua", 1))))
            model = run.model("base")
            lm.evaluate(model, run.blocks("lua"))  # leaves the model on the device
            assert lm.sample(model, run.corpus.tokenizer, "the ", 3, 0)
            found[where] = run.losses("base", "lua", "stories", "merged"), run.sae_table(), persistence.persistence(run)
    for cpu, cuda, columns, apart in zip(found["cpu"], found["cuda"], (["loss_nats"], ["l0", "fvu"], ["observed"]),
                                         (0.02, 0.1, 0.1), strict=True):
        np.testing.assert_allclose(cuda[columns].mean(), cpu[columns].mean(), rtol=apart)


@pytest.mark.parametrize("kind, width", [("topk", 64), ("topk", 500), ("relu", 64), ("batchtopk", 64)])
def test_saes_come_out_as_on_a_cpu(kind, width, monkeypatch):
    patches.float32(monkeypatch)
    config = dataclasses.replace(P.sae, kind=kind, width=width, k=4, k_first=4, l1=1e-3, batch=64, tokens=64 * 40,
                                 dead_after=500, aux=0.1)
    x = torch.randn(40, 64, 16, generator=torch.Generator().manual_seed(0))

    def train(device):
        one, other = (training.Trainer(training.init(config, 16, 0, 1.0, x[0].mean(0).to(device)), config)
                      for _ in range(2))
        for batch in x[:20]:
            one.update(batch.to(device))
        tensors, values = one.state()  # as if killed, and gone on with from the disk
        other.restore({name: value.cpu() for name, value in tensors.items()}, values)
        for batch in x[20:]:
            other.update(batch.to(device))
        return other.finish()

    cpu = train("cpu")
    with gpu.present():
        cuda = train(lm.device())
    for a, b in zip(cpu.parameters(), cuda.parameters(), strict=True):
        assert b.device == gpu.CPU
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)


def test_what_a_run_takes_is_estimated():
    with gpu.present():
        found = estimate.estimate(lineage.read("smoke", **{"train.batch": 4}))
    assert all(0 < value < np.inf for value in found["seconds"].values())
