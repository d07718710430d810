"""The k largest of each row, found by three ways of which none is allowed to be told from the plain one."""

import patches
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifeat import lm, sae
from unifeat.sae import plain

DTYPES, ROW = st.sampled_from([torch.bfloat16, torch.float32]), st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 70), st.sampled_from([1, 2, 16]), ROW, DTYPES, st.booleans(), st.booleans())
def test_equals_its_plain_twin(k, width, times, seed, dtype, tiles, ties):
    """With and without matrix tiles, and where many values are equal."""
    z = torch.randn(5, times * max(k, width), generator=torch.Generator().manual_seed(seed))
    z = (z.round() if ties else z).to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patches.replace(patch, lm.tiles, lambda: tiles)
        values, at = sae.topk(z, k)
    expected, _ = plain.topk(z, k)
    assert torch.equal(values.relu().sort(descending=True).values, expected.relu())
    assert torch.equal(z.gather(1, at).relu(), values.relu()) and all(len(set(row)) == k for row in at.tolist())


@pytest.mark.parametrize("tiles", [False, True])
def test_rows_wider_than_a_key_has_room_for(monkeypatch, tiles):
    patches.replace(monkeypatch, lm.tiles, lambda: tiles)
    z = torch.randn(2, (1 << 16) + 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    z[:, -1] = 99
    values, at = sae.topk(z, 4)
    assert torch.equal(values.sort(descending=True).values, plain.topk(z, 4)[0])
    assert (at == z.shape[1] - 1).any(1).all()
