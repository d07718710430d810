"""Our attention against its plain twin, and inside a model against transformers' own."""

import dataclasses

import numpy as np
import patches
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifeat import lineage, lm
from unifeat.lm import plain, training
from unifeat.lm.attention import forward


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]), st.integers(1, 9), st.integers(1, 5),
       st.integers(0, 2**32 - 1))
def test_equals_its_plain_twin_with_all_gradients(batch, heads, tokens, d, seed):
    generator = torch.Generator().manual_seed(seed)
    q, k, v, out = (torch.randn(batch, h, tokens, d, dtype=torch.float64, generator=generator)
                    for h in (heads[0], heads[1], heads[1], heads[0]))
    found = []
    for fast in (True, False):
        parts = [x.clone().requires_grad_() for x in (q, k, v)]
        got = forward(None, *parts, None)[0].transpose(1, 2) if fast else plain.attention(*parts)
        (got * out).sum().backward()
        found.append([got, *(x.grad for x in parts)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_no_token_sees_a_later_one():
    q, k, v = (torch.randn(1, 2, 7, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    before = forward(None, q, k, v, None)[0]
    k[:, :, 4:], v[:, :, 4:] = 9.0, -9.0
    after = forward(None, q, k, v, None)[0]
    assert torch.equal(before[:, :4], after[:, :4]) and not torch.equal(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_in_a_model_it_is_transformers_own(kv_heads, monkeypatch):
    patches.float32(monkeypatch)
    rows = torch.tensor(np.random.default_rng(0).integers(1, 260, (3, 32)))
    sizes = dict(d_model=32, d_mlp=16, heads=4, kv_heads=kv_heads, layers=2)
    config = dataclasses.replace(lineage.read("smoke").model, **sizes)
    found = {}
    for name in ("eager", lm.kernel()):
        patches.replace(monkeypatch, lm.attention, lambda name=name: name)
        model = lm.build(config, 300, 32)
        training.loss_of(model, rows).backward()
        padded = model(input_ids=rows, attention_mask=rows % 3 > 0).logits
        found[name] = [p.grad for p in model.parameters()] + [padded[rows % 3 > 0].detach()]
    for theirs, ours in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
