"""Verdicts beside activation correlation, against hand values."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from unifeat.lineage import read
from unifeat.matching.comparison import Comparison
from unifeat.studies import edges, pair_agreement


def test_pearson_rows_against_numpy():
    a, b = torch.randn(4, 30), torch.randn(4, 30)
    want = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pair_agreement.pearson_rows(a, b), want, atol=1e-6)
    assert np.isnan(pair_agreement.pearson_rows(torch.ones(1, 5), torch.randn(1, 5))[0])


def test_agreement_by_hand():
    """Four pairs, two verdicts equal on three of them: same 0.75, chance 0.5, kappa 0.5."""
    found = pd.DataFrame(dict(r=[0.9, 0.9, 0.1, 0.2], decoder=[0.9, 0.2, 0.1, 0.3], encoder=[0.9, 0.85, 0.0, 0.1],
                              logits=[0.9, 0.2, 0.9, 0.1]))
    rows = pair_agreement.agreement(found, 0.8).set_index("verdict")
    assert rows.loc["decoder", "same"] == 0.75 and rows.loc["decoder", "kappa"] == pytest.approx(0.5)
    assert rows.loc["encoder", "kappa"] == 1 and rows.loc["logits", "kappa"] == 0


def test_same_partner_by_hand():
    """Decoders and activations choose the same parent for two of the three features that reach tau; twins always do."""
    def one(table):
        return Comparison(("a", 0), ("b", 1), np.arange(4), np.arange(4), table)

    dictionaries = {"a": torch.eye(4), "b": torch.eye(4)[[1, 0, 2, 3]]}
    twin = one(dict(r_of_b=np.ones(4), best_of_b=np.array([1, 0, 2, 3])))
    run = SimpleNamespace(lineage=read("smoke"), twins=lambda name: [twin, twin],
                          sae=lambda name, seed: SimpleNamespace(w_dec=dictionaries[name]))
    found = pair_agreement.partners(run, one(dict(r_of_b=np.array([0.9, 0.9, 0.9, 0.1]),
                                                  best_of_b=np.array([1, 0, 3, 3]))), 0.8)
    assert found["observed"] == pytest.approx(2 / 3) and found["ceiling"] == 1 and found["null"] < 2 / 3
    nothing = pair_agreement.partners(run, one(dict(r_of_b=np.zeros(4), best_of_b=np.zeros(4, int))), 0.8)
    assert np.isnan(nothing["observed"]) and np.isnan(nothing["null"])


def test_tables_of_all_edges_and_of_none():
    frame = pd.DataFrame(dict(verdict=["decoder"], same=[0.5]))
    both = edges.by_edge({("a", "b"): frame, ("b", "c"): frame}, ["verdict", "same"])
    assert both["edge"].tolist() == ["a → b", "b → c"] and list(both.columns) == ["edge", "verdict", "same"]
    assert edges.by_edge({}, ["verdict", "same"]).empty
