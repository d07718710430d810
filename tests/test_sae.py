import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from unifeat import lm, sae
from unifeat.lineage import settings
from unifeat.sae import gradients
from unifeat.sae import training as sae_training

CONFIG = dataclasses.replace(settings.load("smoke").sae, width=12, k=3, batch=16, tokens=160, lr=1e-2, warmup=1)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(lm, "compute_dtype", lambda: torch.float32)


def make(kind="topk", seed=0, d=5, **more):
    one = sae_training.init(dataclasses.replace(CONFIG, kind=kind, **more), d, seed, 1.7, torch.arange(d) * 0.1)
    generator = torch.Generator().manual_seed(seed)
    one.w_enc = one.w_enc + 0.3 * torch.randn(one.w_enc.shape, generator=generator)
    one.b_enc = 0.2 * torch.randn(one.b_enc.shape, generator=generator)
    return one


def inputs(n=16, d=5, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_encode_and_decode_by_hand():
    one = sae.Sae("relu", 1, torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([0.0, 0.5]),
                  torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([1.0, 0.0]), scale=2.0)
    f = one.encode(torch.tensor([[1.0, 1.0], [0.0, -1.0]]))  # s x - b_dec = (1, 2), (-1, -2)
    assert f.tolist() == [[1.0, 0.0], [0.0, 2.5]]
    assert one.decode(f).tolist() == [[1.0, 0.0], [0.5, -1.25]]


@pytest.mark.parametrize("kind, wide", [*((kind, False) for kind in settings.KINDS), ("topk", True)])
@pytest.mark.parametrize("rows", [7, 1024])
def test_gradients_equal_autograd(kind, wide, rows, monkeypatch):
    """Against a plain, differentiable statement of the loss, with ragged chunks where the kind allows them."""
    monkeypatch.setattr(gradients, "ROWS", rows)
    monkeypatch.setattr(gradients, "wide", lambda *_: wide)
    one, x, l1 = make(kind), inputs(), 0.3 if kind == "relu" else 0.0
    grads, fired, error, _ = gradients.gradients(one, x, l1, None, 0.0)
    p = [t.clone().requires_grad_() for t in one.parameters()]
    parts = []
    for part in x.split(rows):
        target = part * one.scale - p[3]
        z = target @ p[0].T + p[1]
        if kind == "relu":
            f = torch.relu(z)
        elif kind == "topk":
            f = torch.relu(z) * (z >= z.topk(3, -1).values[:, -1:])
        else:
            least = z.flatten().sort(descending=True).values[3 * len(part) - 1]
            f = torch.relu(z) * (z >= least)
        parts.append(((f @ p[2] - target).square().sum(1), f))
    loss = torch.cat([e for e, _ in parts]).mean() + l1 * torch.cat([f.sum(1) for _, f in parts]).mean()
    loss.backward()
    for ours, theirs in zip(grads, p, strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-4, atol=1e-5)
    assert float(error) == pytest.approx(torch.cat([e for e, _ in parts]).mean().item(), rel=1e-5)
    assert torch.equal(fired, torch.cat([f for _, f in parts]).amax(0) > 0)


@pytest.mark.parametrize("wide", [False, True])
def test_auxiliary_loss_equals_autograd(wide, monkeypatch):
    monkeypatch.setattr(gradients, "wide", lambda *_: wide)
    one, x, dead = make(), inputs(), torch.tensor([2, 5, 7, 11])
    with_aux = gradients.gradients(one, x, 0.0, dead, 0.5)[0]
    without = gradients.gradients(one, x, 0.0, None, 0.5)[0]
    p = [t.clone().requires_grad_() for t in one.parameters()]
    with torch.no_grad():
        rest = x - one.decode(one.encode(x))
    target = (x * one.scale - p[3]).detach()
    z = (target @ p[0].T + p[1])[:, dead]
    f = torch.relu(z) * (z >= z.topk(2, -1).values[:, -1:])
    (0.5 * (f @ p[2][dead] - rest * one.scale).square().sum(1).mean()).backward()
    for i in range(3):
        torch.testing.assert_close(with_aux[i] - without[i], p[i].grad, rtol=1e-4, atol=1e-5)


def test_l1_is_summed_over_features_and_averaged_over_tokens():
    """The authors' slip: their L1 ran over token positions. Doubling the batch must not change ours."""
    one, x = make("relu"), inputs()
    slope = [gradients.gradients(one, part, 1.0, None, 0.0)[0][1]
             - gradients.gradients(one, part, 0.0, None, 0.0)[0][1] for part in (x, torch.cat([x, x]))]
    share = (one.encode(x) > 0).float().mean(0)
    torch.testing.assert_close(slope[0], share)
    torch.testing.assert_close(slope[1], share)


@pytest.mark.parametrize("kind", settings.KINDS)
def test_training_step_keeps_unit_rows_and_lowers_the_error(kind):
    one = make(kind)
    trainer = sae_training.Trainer(one, dataclasses.replace(CONFIG, kind=kind, tokens=16 * 200, decay=0.2))
    x = inputs(64)
    errors = [float(trainer.update(x[i % 4 * 16:][:16])["error"]) for i in range(200)]
    torch.testing.assert_close(trainer.sae.w_dec.norm(dim=1), torch.ones(12))
    assert np.mean(errors[-20:]) < 0.5 * np.mean(errors[:20])


def test_topk_and_batchtopk_keep_their_number():
    x = inputs(200)
    assert ((make("topk").encode(x) > 0).sum(1) <= 3).all()
    z = torch.randn(50, 12)
    f = sae.act(z, "batchtopk", 3, gradients.batch_threshold(z, 3))
    assert (f > 0).sum() == 150


def test_relu_l0_is_steered_to_k():
    x = inputs(4096, d=16)
    found = []
    for k in (2, 6):
        config = dataclasses.replace(CONFIG, kind="relu", width=32, k=k, l1=0.05, batch=256, tokens=256 * 600, lr=3e-3)
        trainer = sae_training.Trainer(sae_training.init(config, 16, 0, 1.0, torch.zeros(16)), config)
        for i in range(600):
            trainer.update(x[i % 16 * 256:][:256])
        found.append((trainer.sae.encode(x) > 0).sum(1).float().mean().item())
    assert found[0] < found[1] and found[0] == pytest.approx(2, rel=0.3) and found[1] == pytest.approx(6, rel=0.3)


def test_dead_latents_are_counted_and_revived():
    config = dataclasses.replace(CONFIG, tokens=16 * 300, dead_after=160, aux=1.0)
    one = make("topk")
    one.b_enc = torch.where(torch.arange(12) < 4, -50.0, one.b_enc)  # four latents that cannot fire
    asleep = sae_training.Trainer(dataclasses.replace(one, b_enc=one.b_enc.clone(), w_enc=one.w_enc.clone(),
                                             w_dec=one.w_dec.clone()), dataclasses.replace(config, aux=0.0))
    x = inputs(64)
    for i in range(12):
        asleep.update(x[i % 4 * 16:][:16])
    assert asleep.finish().dead_share >= 4 / 12


def test_geometric_median_minimises_the_summed_distance():
    x = inputs(50) ** 3
    best = sae_training.geometric_median(x, steps=200)
    total = (x - best).norm(dim=1).sum()
    for step in torch.eye(5) * 0.02:
        assert total <= (x - best - step).norm(dim=1).sum() + 1e-4


def test_save_and_load_are_the_identity(tmp_path):
    one = dataclasses.replace(make("batchtopk"), threshold=0.25, lm_hash="abc", dead_share=0.5)
    sae.save(one, tmp_path)
    again = sae.load(tmp_path)
    x = inputs()
    assert torch.equal(again.encode(x), one.encode(x)) and again.lm_hash == "abc" and again.threshold == 0.25


def test_damaged_or_foreign_saes_are_refused(tmp_path):
    one = make()
    sae.save(one, tmp_path / "ok")
    with pytest.raises(sae.SaeError, match="cannot be loaded"):
        sae.load(tmp_path / "nothing")
    for name, value in (("w_dec", torch.ones(3, 3)), ("b_enc", torch.full((12,), math.nan))):
        sae.save(dataclasses.replace(one, **{name: value}), tmp_path / "bad")
        with pytest.raises(sae.SaeError, match="shapes that do not fit|not finite"):
            sae.load(tmp_path / "bad")
    for name, value, problem in (("kind", "gelu", "kind is none of"), ("k", 0, "k is not"), ("k", 2.5, "k is not"),
                                 ("scale", 0.0, "scale is not"), ("threshold", math.nan, "threshold is no"),
                                 ("w_dec", one.w_dec.half(), "not float32"), ("hook", None, "hook point")):
        sae.save(dataclasses.replace(one, **{name: value}), tmp_path / "bad")
        with pytest.raises(sae.SaeError, match=problem):
            sae.load(tmp_path / "bad")
    save_file({"w_enc": one.w_enc}, tmp_path / "bad" / "sae.safetensors")
    with pytest.raises(sae.SaeError, match="cannot be loaded"):
        sae.load(tmp_path / "bad")
    model = lm.build(settings.load("smoke").model, 300, 32)
    with pytest.raises(sae.SaeError, match="was trained on another model"):
        sae.load(tmp_path / "ok", model)


def identity(d):
    """An SAE that gives back its input exactly: one latent per direction and sign."""
    w = torch.cat([torch.eye(d), -torch.eye(d)])
    return sae.Sae("relu", 1, w, torch.zeros(2 * d), w.clone(), torch.zeros(d), scale=1.0)


def test_metrics_at_their_anchors():
    """A perfect SAE: FVU 0, all cross-entropy recovered. The mean as reconstruction: FVU 1, nothing recovered."""
    model = lm.build(settings.load("smoke").model, 300, 32)
    blocks = np.random.default_rng(0).integers(1, 300, (6, 32))
    blocks[:, 0] = 0
    x = lm.activations(model, torch.tensor(blocks))[torch.tensor(blocks) > 0].float()
    constant = dataclasses.replace(identity(128), w_dec=torch.zeros(256, 128), b_dec=x.mean(0))
    constant.w_enc = torch.zeros(256, 128)
    perfect, mean = sae.evaluate([identity(128), constant], model, blocks)
    assert perfect["fvu"] == pytest.approx(0, abs=1e-9) and perfect["ce_recovered_mean"] == pytest.approx(1, abs=1e-4)
    assert perfect["ce_recovered_zero"] == pytest.approx(1, abs=1e-4)
    assert perfect["l0"] == pytest.approx(128) and perfect["density"].shape == (256,)
    assert mean["fvu"] == pytest.approx(1, rel=1e-5) and mean["ce_recovered_mean"] == pytest.approx(0, abs=1e-4)
    assert mean["l0"] == 0


def test_training_on_a_model_is_seeded_and_seeds_differ():
    model = lm.build(settings.load("smoke").model, 300, 32)
    blocks = [np.random.default_rng(0).integers(0, 300, (40, 32))]
    config = dataclasses.replace(CONFIG, width=64, tokens=2048, batch=128, buffer=512)
    runs = [sae_training.train(model, blocks, [1.0], config)[0] for _ in range(2)]
    assert torch.equal(runs[0][0].w_enc, runs[1][0].w_enc) and torch.equal(runs[0][1].w_dec, runs[1][1].w_dec)
    assert not torch.equal(runs[0][0].w_enc, runs[0][1].w_enc)
    assert runs[0][0].lm_hash == lm.weights_hash(model)


def test_stream_leaves_special_tokens_out_and_is_scaled_to_unit_square():
    model = lm.build(settings.load("smoke").model, 300, 32)
    blocks = [np.random.default_rng(0).integers(0, 3, (40, 32))]
    config = dataclasses.replace(CONFIG, width=64, tokens=2048, batch=128, buffer=512)
    share = (blocks[0] > 0).mean()
    sizes = [len(part) for part in sae_training.stream(model, blocks, [1.0], config)]
    assert np.mean(sizes) == pytest.approx(512 * share, rel=0.05)
    one = sae_training.train(model, blocks, [1.0], config)[0][0]
    x = next(sae_training.stream(model, blocks, [1.0], config)).float()
    assert (x * one.scale).square().sum(1).mean().item() == pytest.approx(128, rel=0.02)


def test_batchtopk_threshold_starts_at_the_first_batch_and_follows_the_mean():
    one, x = make("batchtopk"), inputs(64)
    expected = None
    for part in x.split(16):
        z = (part * one.scale - one.b_dec) @ one.w_enc.T + one.b_enc
        least = gradients.batch_threshold(z, one.k)
        gradients.gradients(one, part, 0.0, None, 0.0)
        expected = 0.99 * expected + 0.01 * least if expected else least
        assert one.threshold == pytest.approx(expected, rel=1e-5)


@given(st.integers(1, 40), st.integers(1, 70), st.sampled_from([1, 2, 16]), st.integers(0, 2**32 - 1),
       st.sampled_from([torch.bfloat16, torch.float32]), st.booleans())
def test_the_largest_are_those_of_topk(k, width, times, seed, dtype, tiles):
    z = torch.randn(5, times * max(k, width), generator=torch.Generator().manual_seed(seed)).to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "tiles", lambda: tiles)
        values, at = sae.topk(z, k)
    expected = z.topk(k, dim=-1).values.relu()
    assert torch.equal(values.relu().sort(descending=True).values, expected)
    assert torch.equal(z.gather(1, at).relu(), values.relu()) and all(len(set(row)) == k for row in at.tolist())
