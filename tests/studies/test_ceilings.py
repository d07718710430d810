"""The ceilings of all models, of live features and of all latents."""

import numpy as np
import pytest
from planted_runs import OWN, SHARE, SHARED, Planted, planted_run

from unifeat.matching import TAUS
from unifeat.matching.comparison import Comparison
from unifeat.pipeline import promises
from unifeat.studies import baselines, ceilings

AT = int(np.argmin(np.abs(TAUS - 0.8)))


class Half(Planted):
    """Planted features of which the first ten live ones lie within single tokens, and all within single neurons."""

    def subsets(self, name, seed):
        token = np.arange(len(self.live(name, seed))) >= 10
        return dict(beyond_token=token, beyond_neuron=np.zeros_like(token), beyond_both=np.zeros_like(token))


@pytest.fixture
def untrained(monkeypatch):
    """In place of the untrained model's SAE: a table in which 0.1 of all features pass tau, and 0.2 beyond tokens."""
    names = {"": 0.1, ".beyond_token": 0.2, ".beyond_neuron": np.nan, ".beyond_both": np.nan}
    monkeypatch.setattr(baselines, "random", lambda run, child: {
        f"observed.one_to_one.child{key}": np.full(len(TAUS), value) for key, value in names.items()})


def test_planted_ceilings_of_live_features_and_of_all_latents(planted, untrained):
    frame = ceilings.ceilings(planted)
    assert ",".join(frame.columns) == ",".join(ceilings.COLUMNS) == promises.TABLES["ceilings"]
    assert frame["model"].unique().tolist() == list(planted.lineage.names) and len(frame) == 4 * len(ceilings.FEATURES)
    np.testing.assert_allclose(frame["ceiling"], SHARE)
    np.testing.assert_allclose(frame["of_latents"], SHARED / planted.lineage.sae.width)
    assert (frame["live"] == SHARED + OWN).all() and (frame["counted"] == SHARED + OWN).all()
    for name in ("ceiling", "of_latents"):
        assert (frame[f"{name}_low"] <= frame[name]).all() and (frame[name] <= frame[f"{name}_high"]).all()
    assert frame.loc[frame["features"] == "all", "null_untrained"].eq(0.1).all()


def test_sets_of_features_are_counted_and_an_empty_one_has_no_ceiling(tmp_path, untrained):
    run = planted_run(tmp_path, kind=Half)
    name = run.lineage.names[0]
    rows = ceilings.ceilings(run).query("model == @name").set_index("features")
    (twin,) = run.twins(name)
    found = [twin.kept("one_to_one", 0.8)[side][10:] for side in (0, 1)]
    assert rows["counted"].tolist() == [40, 30, 0, 0]
    assert rows.loc["beyond_token", "ceiling"] == pytest.approx(np.mean(found))
    assert rows.loc["beyond_token", "of_latents"] == pytest.approx(np.sum(found) / 2 / run.lineage.sae.width)
    assert rows.loc["beyond_token", "null_untrained"] == 0.2
    assert np.isnan(rows.loc["beyond_neuron", "ceiling"]) and rows.loc["beyond_neuron", "of_latents"] == 0


def test_shares_of_latents_by_hand():
    """0.5 of 8 features on one side and 0.25 of 4 on the other, of 16 latents: 4 / 16 and 1 / 16."""
    table = {f"{label}.one_to_one.{side}": np.array([share]) for label in ("observed", "resampled")
             for side, share in (("parent", 0.5), ("child", 0.25))}
    one = Comparison(("m", 3), ("m", 5), np.arange(8), np.arange(4), table)
    found = ceilings._of_width(one, {3: 8, 5: 4}, 16, "all")
    assert found["observed.one_to_one.parent"] == 0.25 and found["resampled.one_to_one.child"] == 0.0625
