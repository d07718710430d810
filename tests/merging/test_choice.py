"""Which t: the balanced one by hand and by its definition, with any number of domains; the one of a given merge."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifeat.merging import balanced_t, between, lerp, nearest_t, slerp


def sweep(curves: dict[str, list[float]], method="slerp") -> pd.DataFrame:
    """A sweep in which each domain's accuracy runs along its curve, over evenly spaced t."""
    return pd.DataFrame([dict(method=method, t=float(t), domain=domain, accuracy=value, loss_nats=1.0)
                         for domain, curve in curves.items()
                         for t, value in zip(np.linspace(0, 1, len(curve)), curve, strict=True)])


def test_by_hand():
    """Shares 1, .5, .25 of the first and .2, .6, 1 of the second cross between t = 0 (gap .8) and t = .5 (gap -.1)."""
    frame = sweep({"lua": [0.8, 0.4, 0.2], "stories": [0.1, 0.3, 0.5]})
    assert balanced_t(frame, ["lua"], ["stories"]) == pytest.approx(0.5 * 0.8 / 0.9, abs=1e-3)


def test_a_parent_of_several_domains_counts_by_their_mean():
    """Means .6, .3, .1 and .2, .4, .8: shares 1, .5, 1/6 and .25, .5, 1, which meet at t = .5 exactly."""
    curves = {"a": [0.8, 0.4, 0.1], "b": [0.4, 0.2, 0.1], "c": [0.3, 0.5, 0.9], "d": [0.1, 0.3, 0.7],
              "other": [0.9, 0.0, 0.9]}
    assert balanced_t(sweep(curves), ("a", "b"), ("c", "d")) == 0.5
    assert balanced_t(sweep(curves), ("a",), ("c",)) != 0.5


def test_rows_of_other_methods_and_of_the_base_are_not_read():
    curves = {"x": [0.8, 0.4, 0.2], "y": [0.1, 0.3, 0.5]}
    frame = sweep(curves)
    more = pd.concat([frame.assign(method="lerp", accuracy=0.5), frame.assign(method="base", t=np.nan), frame])
    assert balanced_t(more.sample(frac=1, random_state=0), ["x"], ["y"]) == balanced_t(frame, ["x"], ["y"])


def test_shares_that_do_not_cross_are_refused():
    with pytest.raises(ValueError, match="do not cross"):
        balanced_t(sweep({"x": [0.4, 0.5, 0.6], "y": [0.9, 0.6, 0.5]}), ["x"], ["y"])


@settings(deadline=None)
@given(st.integers(2, 30), st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.1, 9))
def test_both_parents_keep_the_same_share_there(points, left, right, scale):
    """Straight lines: kept 1 to `left` and `right` to 1. Exchanging the parents turns t round, and no scale matters."""
    t = np.linspace(0, 1, points)
    first, second = 0.6 * (1 + t * (left - 1)), 0.3 * (right + t * (1 - right))
    found = balanced_t(sweep({"x": first, "y": second}), ["x"], ["y"])
    assert 1 + found * (left - 1) == pytest.approx(right + found * (1 - right), abs=2e-3)
    turned = balanced_t(sweep({"x": first[::-1], "y": second[::-1]}), ["y"], ["x"])
    assert turned == pytest.approx(1 - found, abs=1.1e-3)
    assert balanced_t(sweep({"x": scale * first, "y": second}), ["x"], ["y"]) == pytest.approx(found, abs=1.1e-3)


def states(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"w": torch.randn(20, 30, generator=generator), "zero": torch.zeros(3)} for _ in range(2)]


@settings(deadline=None, max_examples=25)
@given(st.floats(0.02, 0.98), st.integers(0, 99))
def test_the_t_of_a_given_merge_is_found_again(t, seed):
    a, b = states(seed)
    assert nearest_t(a, b, between(slerp, a, b, t)) == pytest.approx(t, abs=2e-3)
    assert nearest_t(b, a, between(slerp, a, b, t)) == pytest.approx(1 - t, abs=2e-3)


def test_the_t_nearest_to_what_is_no_slerp_and_between_equal_models():
    a, b = states()
    assert nearest_t(a, b, between(lerp, a, b, 0.5)) == pytest.approx(0.5, abs=0.05)
    assert nearest_t(a, b, a) < 1e-3 and nearest_t(a, b, b) > 1 - 1e-3
    assert nearest_t(a, a, b) == 0.5
