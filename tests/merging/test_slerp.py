"""SLERP and its line: exact ends, against an independent formula, what is refused, whole models."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unifeat.merging import angles, between, differing, lerp, slerp, straight

VECTORS = st.lists(st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3)), min_size=3, max_size=3).filter(
    lambda v: sum(x * x for x in v) > 1e-2)


def pair(seed=0, shape=(4, 3)):
    generator = torch.Generator().manual_seed(seed)
    return [{"w": torch.randn(shape, generator=generator), "norm": 1 + 0.1 * torch.randn(5, generator=generator)}
            for _ in range(2)]


@given(VECTORS, VECTORS)
def test_ends_are_the_parents_exactly(a, b):
    a, b = torch.tensor(a), torch.tensor(b)
    for rule in (slerp, lerp):
        assert torch.equal(rule(a, b, 0.0), a) and torch.equal(rule(a, b, 1.0), b)


@given(VECTORS, VECTORS, st.floats(0, 1))
def test_matches_an_independent_formula(a, b, t):
    """The same arc by Gram-Schmidt: cos(t theta) u + sin(t theta) v, radii mixed as the weights imply."""
    x, y = np.array(a), np.array(b)
    cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    if abs(cosine) > 0.999:
        return
    theta = np.arccos(cosine)
    u = x / np.linalg.norm(x)
    v = y / np.linalg.norm(y) - cosine * u
    v /= np.linalg.norm(v)
    weights = np.sin((1 - t) * theta) / np.sin(theta), np.sin(t * theta) / np.sin(theta)
    want = (weights[0] * np.linalg.norm(x) + weights[1] * np.linalg.norm(y) * cosine) * u \
        + weights[1] * np.linalg.norm(y) * np.sin(theta) * v
    np.testing.assert_allclose(slerp(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64), t),
                               want, atol=1e-9)


@given(st.floats(0.01, 0.99), st.floats(0.1, 3.0))
def test_unit_vectors_stay_on_the_sphere_and_the_angle_grows_linearly(t, theta):
    a, b = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([math.cos(theta), math.sin(theta)],
                                                                       dtype=torch.float64)
    c = slerp(a, b, t)
    assert abs(c.norm().item() - 1) < 1e-9
    assert abs(math.atan2(c[1], c[0]) - t * theta) < 1e-6


def test_symmetry_and_dtype_and_parallel_fallback():
    a, b = pair()
    forward, backward = slerp(a, b, 0.3), slerp(b, a, 0.7)
    for name in a:
        torch.testing.assert_close(forward[name], backward[name])
    assert slerp(a["w"].half(), b["w"].half(), 0.5).dtype == torch.float16
    near = {"w": a["w"] * 1.5 + 1e-4}
    assert straight({"w": a["w"]}, near) == ["w"]
    torch.testing.assert_close(slerp({"w": a["w"]}, near, 0.25)["w"], lerp({"w": a["w"]}, near, 0.25)["w"])
    assert angles(a, a)["w"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("change", "words"), [
    (lambda b: b.pop("w"), "Only one of the two models has the tensor w"),
    (lambda b: b.update(w=torch.ones(3, 3)), r"Tensor w has shape \(4, 3\) in one model and \(3, 3\)"),
    (lambda b: b.update(w=b["w"].double()), "Tensor w is torch.float32 in one model and torch.float64"),
    (lambda b: b["w"].fill_(math.nan), "Tensor w holds NaN"),
    (lambda b: b["norm"].fill_(math.inf), "Tensor norm holds NaN or infinity"),
    (lambda b: b["w"].zero_(), "Tensor w is zero everywhere"),
])
@pytest.mark.parametrize("rule", [slerp, lerp])
def test_mismatches_are_refused_by_name(rule, change, words):
    a, b = pair()
    change(b)
    with pytest.raises(ValueError, match=words):
        rule(a, b, 0.5)


@pytest.mark.parametrize("t", [-0.01, 1.01, math.nan, math.inf])
def test_t_outside_the_interval_is_refused(t):
    a, b = pair()
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        slerp(a, b, t)


# Whole models: between ----------------------------------------------------------------------------------------


def test_between_merges_what_differs_and_leaves_the_rest_be_it_zero():
    a, b = pair()
    for state in (a, b):
        state |= {"same": torch.arange(3.0), "zero": torch.zeros(4)}  # slerp alone would refuse a zero tensor
    for rule in (slerp, lerp):
        found = between(rule, a, b, 0.3)
        assert list(found) == list(a)
        for name, value in found.items():
            assert torch.equal(value, a[name] if name in ("same", "zero") else rule(a[name], b[name], 0.3))
    assert differing(a, b) == ["w", "norm"]


@given(st.floats(0, 1))
def test_between_equal_models_is_the_model(t):
    a, _ = pair()
    found = between(slerp, a, {name: value.clone() for name, value in a.items()}, t)
    assert all(torch.equal(found[name], a[name]) for name in a) and not differing(a, a)


def test_between_changes_neither_parent_and_still_refuses_what_does_not_fit():
    a, b = pair()
    before = {name: value.clone() for name, value in b.items()}
    found = between(slerp, a, b, 1.0)
    assert all(torch.equal(found[name], b[name]) for name in b)
    found["w"] += 1
    assert all(torch.equal(b[name], before[name]) for name in b)
    b["w"] = b["w"][:3]
    with pytest.raises(ValueError, match=r"Tensor w has shape \(4, 3\) in one model and \(3, 3\)"):
        between(slerp, a, b, 0.5)
