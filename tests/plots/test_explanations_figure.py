"""The figure of explanation scores, also of groups without any."""

import numpy as np
import pandas as pd

from unifeat import lineage
from unifeat.plots.explanations import explanations


def test_it_draws_with_nan_and_leaves_groups_without_scores_out():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(dict(group=["a"] * 30 + ["b"] * 3 + ["c"] * 30, kind=["features"] * 33 + ["control"] * 30,
                              model="base", explainer="lexical", simulation=rng.random(63), detection=rng.random(63)))
    frame.loc[30:32, ["simulation", "detection"]] = np.nan
    fig = explanations(frame, lineage.read("smoke").theme, "note")
    assert "lexical" in fig._supxlabel.get_text()
    assert not any("B (" in text.get_text() for text in fig.axes[0].get_legend().get_texts())
