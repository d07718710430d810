"""The ladder from permuted tokens to the seed ceiling, on a run whose features are planted."""

import numpy as np
import pytest
from planted_runs import SHARE, children, planted_run

from unifeat.studies import baselines, ladder


@pytest.fixture
def unrelated(monkeypatch):
    """Rungs that need a language model are replaced by those of an edge; they are tested in test_baselines."""
    def give(run):
        table = run.compare((run.lineage.names[0], 0), (run.lineage.names[-1], 1)).table
        for rung in ("neurons", "random", "rotated"):
            monkeypatch.setattr(baselines, rung, lambda *_: table)

    return give


def test_the_ladder_holds_edges_ceilings_and_nulls(planted, unrelated):
    unrelated(planted)
    frame = ladder.ladder(planted)
    middle = frame[frame["rule"] == "best"].groupby("group", sort=False)["r"].median()
    within = middle.pop("null: permuted within the token")
    assert len(middle) == 6 and (middle.iloc[:5] > 0.99).all() and max(within, middle.iloc[5]) < 0.2
    assert not ladder.quantiles(frame).isna().any(axis=None)


def test_its_table_has_shares_ceilings_and_nulls_of_every_pair(planted, unrelated):
    unrelated(planted)
    table = ladder.ladder_table(planted)
    edges = table[table["group"].str.startswith("edges") & (table["rule"] == "one_to_one")]
    assert edges["comparison"].tolist() == [f"{a} → {b}" for a, b in planted.lineage.pairs]
    np.testing.assert_allclose(edges[["observed", "ceiling"]], SHARE)
    assert edges["excess"].round(6).eq(1).all() and edges["null"].eq(0).all()
    without = edges.loc[edges["null_rotated"].isna(), "comparison"]  # pairs that are no edges
    assert without.tolist() == [f"{a} → {b}" for a, b in planted.lineage.compare]


def test_a_model_alone_has_its_ceiling_and_an_untrained_model_beside_it(tmp_path, unrelated):
    run = planted_run(tmp_path, children({}))
    unrelated(run)
    groups = set(ladder.ladder_table(run)["group"])
    assert groups == {"seed ceiling: two SAEs of one model", "SAE of an untrained model"}
