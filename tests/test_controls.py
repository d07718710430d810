"""Controls: variants, intervals and the sentences computed from them."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unifeat import plots
from unifeat.lineage import settings
from unifeat.lineage.run import Run
from unifeat.lineage.settings import ProfileError
from unifeat.studies import controls

RUN = Run(settings.load("smoke"), Path("nowhere"), Path("nowhere"))


def frame(x, excess, width=0.05, **more):
    excess = np.asarray(excess, float)
    return pd.DataFrame(dict(x=x, observed=excess / 2, ci_low=excess / 2 - width / 2, ci_high=excess / 2 + width / 2,
                             ceiling=0.5, ceiling_low=0.45, ceiling_high=0.55, null=0.0, excess=excess,
                             excess_low=excess - width, excess_high=excess + width) | more)


def test_a_variant_changes_what_it_names_and_nothing_else():
    one = controls.variant(RUN, sae=dict(k=4), model=dict(seed=7))
    want = dataclasses.replace(RUN.profile, sae=dataclasses.replace(RUN.profile.sae, k=4),
                               model=dataclasses.replace(RUN.profile.model, seed=7))
    assert one.profile == want and one.root == RUN.root and RUN.profile.sae.k == 8
    with pytest.raises(TypeError):
        controls.variant(RUN, sae=dict(kk=4))


@pytest.mark.parametrize("l0, k", [(8.3, 8), (9.0, 7), (6.0, 11), (100.0, 1)])
def test_a_kind_that_misses_its_l0_is_trained_with_another_k(monkeypatch, l0, k):
    monkeypatch.setattr(controls, "_sae_quality", lambda run: dict(l0=l0))
    found = controls._matched(RUN, 8).profile.sae
    assert found.k == k and found.k_first >= k and dataclasses.replace(found, k=8, k_first=32) == RUN.profile.sae


def test_wilson_against_its_definition():
    """The ends solve |share - p| = z sqrt(p (1 - p) / n)."""
    for end in controls.wilson(0.2, 50):
        assert abs(0.2 - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / 50))
    assert controls.wilson(0.0, 10)[0] == pytest.approx(0) and controls.wilson(0.0, 10)[1] > 0.2


def test_answers_say_what_the_intervals_allow():
    apart = controls.answer(frame([1, 16], [0.2, 0.6]), "Size")
    assert apart == ("Size: it matters; excess persistence lies between 20 % [15, 25] at 1 (observed 10.0 %, ceiling "
                     "50.0 %, null 0.0 %) and 60 % [55, 65] at 16 (observed 30.0 %, ceiling 50.0 %, null 0.0 %).")
    assert "no difference can be told" in controls.answer(frame(["a", "b"], [0.2, 0.25]), "Size")
    assert "too few variants" in controls.answer(frame(["a"], [0.2]), "Size")
    unmatched = frame(["topk", "relu", "batchtopk"], [0.2, 0.9, 0.25], matched=[True, False, True])
    assert "not at matched L0: relu, left out" in controls.answer(unmatched, "Kind") and "90" not in \
        controls.answer(unmatched, "Kind")


def test_the_answer_on_initialization_compares_arms_within_an_edge():
    rows = frame(["independent", "shared"] * 2, [0.4, 0.8, 0.5, 0.52], edge=["base → lua"] * 2 + ["lua → merged"] * 2,
                 same_index=[0.0, 0.6, 0.0, 0.2])
    text = controls.answer_initialization(rows)
    assert ("on 1 of 2 edges, most on base → lua, from 40 % [35, 45] with independent (observed 20.0 %, ceiling "
            "50.0 %, null 0.0 %) to 80 %") in text
    assert "40 % of the shared arm's pairs" in text


@pytest.mark.parametrize("rows", [frame([1, 2, 16], [0.2, 0.4, 0.6]), frame(["relu", "topk"], [0.2, np.nan]),
                                  frame(["a", "b"], [0.1, -0.2], edge="base → lua"), frame([], [])])
def test_figures_of_all_shapes(rows, tmp_path):
    for path in plots.write(plots.control(rows, "what x is", note="a note", log=len(rows) == 3), tmp_path / "one"):
        assert path.stat().st_size > 1000


def test_profiles_check_their_controls():
    with pytest.raises(ProfileError, match="controls.kinds"):
        settings.load("smoke", **{"controls.kinds": ["gated"]})
    with pytest.raises(ProfileError, match="controls.tokens"):
        settings.load("smoke", **{"controls.lengths": [0.001]})
