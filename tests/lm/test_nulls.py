"""Changes that should change no feature: rounded weights, and random steps of a given length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifeat import lineage, lm
from unifeat.lm import nulls

BITS, SEEDS = st.integers(2, 16), st.integers(0, 2**32 - 1)


def state(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    out = {"w": torch.randn(5, 7, generator=generator), "b": torch.randn(7, generator=generator),
           "wide": 1e-3 * torch.randn(2, 40, generator=generator)}
    out["w"][2] = 0  # an unused row
    return {name: value.to(dtype) for name, value in out.items()}


@settings(deadline=None)
@given(BITS, SEEDS)
def test_quantized_weights_lie_on_their_rows_grid_and_within_half_a_step(bits, seed):
    levels, before = 2 ** (bits - 1) - 1, state(seed)
    after = nulls.quantized(before, bits)
    for name in ("w", "wide"):
        step = before[name].double().abs().amax(1, keepdim=True) / levels
        error = (after[name].double() - before[name].double()).abs()
        assert (error <= step * (0.5 + 2 ** (bits - 23))).all()  # float32 has 24 bits for place and rest together
        place = after[name].double() / step.clamp_min(1e-30)
        assert (place - place.round()).abs().max() < 1e-6 * 2**bits and place.abs().max() < levels + 0.01
    assert torch.equal(after["b"], before["b"]) and (after["w"][2] == 0).all()
    assert all(torch.equal(value, state(seed)[name]) for name, value in before.items()), "the parent was changed"


@settings(deadline=None)
@given(BITS)
def test_more_bits_err_less_and_the_largest_weight_of_a_row_stays(bits):
    before = state()
    coarse, fine = (nulls.quantized(before, n)["wide"] for n in (bits, 2 * bits))
    assert (fine - before["wide"]).norm() <= (coarse - before["wide"]).norm()
    torch.testing.assert_close(coarse.abs().amax(1), before["wide"].abs().amax(1))


@settings(deadline=None)
@given(SEEDS, st.floats(1e-6, 1e3))
def test_a_perturbed_tensor_has_moved_by_exactly_its_length(seed, length):
    before = state(dtype=torch.float64)
    lengths = {name: length * number for number, name in enumerate(before)}
    after = nulls.perturbed(before, lengths, seed)
    assert nulls.update_lengths(before, after) == pytest.approx(lengths, rel=1e-7, abs=1e-12)
    assert torch.equal(after["w"], before["w"]), "a length of 0 moves nothing"


def test_the_seed_decides_the_direction():
    lengths = nulls.own_lengths(state(), 0.1)
    first, again, other = (nulls.perturbed(state(), lengths, seed) for seed in (0, 0, 1))
    for name, before in state().items():
        assert torch.equal(first[name], again[name]) and first[name].dtype == torch.float32
        a, b = ((one[name] - before).flatten() for one in (first, other))
        assert abs(torch.cosine_similarity(a, b, dim=0)) < 0.9


def test_lengths_by_hand():
    parent, child = {"w": torch.tensor([[3.0, 4.0]])}, {"w": torch.tensor([[3.0, 1.0]])}
    assert nulls.update_lengths(parent, child) == {"w": 3.0} and nulls.own_lengths(parent, 0.2) == {"w": 1.0}


def test_a_random_update_is_as_long_as_the_real_one_and_a_model_takes_it():
    config = lineage.read("smoke").model
    model = lm.build(config, 300, 32)
    parent = {name: value.clone() for name, value in model.state_dict().items()}
    child = {name: value + 0.01 * torch.randn(value.shape) for name, value in parent.items()}
    lengths = nulls.update_lengths(parent, child)
    model.load_state_dict(nulls.perturbed(parent, lengths, 0))
    assert nulls.update_lengths(parent, model.state_dict()) == pytest.approx(lengths, rel=1e-3)
    model.load_state_dict(nulls.quantized(parent, 8))
