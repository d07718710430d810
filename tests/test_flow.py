"""Persistence, flow, cases and reports on a run whose features are planted: what is shared is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from unifeat.lineage import settings
from unifeat.lineage.run import Run, open_run
from unifeat.pipeline import notebook_cache, provenance, readme
from unifeat.studies import case_studies, feature_flow, ladder, persistence
from unifeat.support import store
from unifeat.support.tables import csv

TOKENS, SHARED, OWN = 6000, 30, 10


def planted(name: str, seed: int) -> sparse.csr_matrix:
    """SHARED features that all models have, in an order of the SAE's own, and OWN ones of this SAE alone, one dead."""
    common, private = np.random.default_rng(0), np.random.default_rng([1, seed, len(name), ord(name[0])])

    def some(rng, n):
        return np.where(rng.random((TOKENS, n)) < 0.02, rng.exponential(size=(TOKENS, n)), 0)

    columns = np.column_stack([some(common, SHARED) * 3, some(private, OWN), np.zeros(TOKENS)])
    return sparse.csr_matrix(columns[:, private.permutation(columns.shape[1])].astype(np.float32))


class Planted(Run):
    """A run that skips text and models."""

    def features(self, name, seed):
        return planted(name, seed)

    def feature_stage(self, name):
        return store.Artefact(self.root, name, 0.0)

    @property
    def probe(self):
        at = np.arange(TOKENS)
        return dict(document=at // 60, domain=at // 1500, block=at // 64, position=at % 64)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    profile = settings.load("smoke", **{"probe.bootstrap": 20, "probe.min_fires": 20})
    return Planted(profile, tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("figures"))


def test_planted_shares_are_recovered_on_every_edge_rule_and_arm(run):
    frame = persistence.persistence(run)
    at = frame[frame["tau"] == 0.8]
    assert len(at) == len(persistence.ARMS) * len(persistence.EDGES) * 2 * 3
    share = SHARED / (SHARED + OWN)
    controlled = at[at["arm"] == "controlled"]
    np.testing.assert_allclose(controlled["observed"], share)
    np.testing.assert_allclose(controlled["ceiling"], share)
    np.testing.assert_allclose(controlled["excess"], 1)
    assert (at["null"] == 0).all() and (at["n_parent"] == SHARED + OWN).all()
    assert (frame["ci_low"] <= frame["ci_high"]).all() and not frame.drop(columns="excess").isna().any(axis=None)


def test_flow_adds_up_and_splits_the_merge_by_origin(run):
    frame = feature_flow.flow(run).set_index(["source", "target", "kind"])["features"]
    for parent, child in persistence.EDGES[:4]:
        assert frame[parent, child, "persist"] == SHARED
        assert frame[parent, child, "emerge"] == frame[parent, child, "disappear"] == OWN
    assert frame["both", "merged", "persist"] == SHARED and frame["new", "merged", "emerge"] == OWN
    assert frame["lua only", "merged", "persist"] == frame["stories only", "merged", "persist"] == 0
    assert frame["base", "both", "persist"] == SHARED and frame["base", "neither", "disappear"] == OWN
    assert set(frame.index.get_level_values("kind")) == {"persist", "emerge", "disappear"}


def test_ladder_holds_edges_ceilings_and_nulls(run, monkeypatch):
    def unrelated(*_):
        return run.compare(("base", 0), ("lua", 1)).table

    for rung in ("neurons", "random", "rotated"):  # they need a language model; tested on one in test_verdicts
        monkeypatch.setattr(persistence.rungs, rung, unrelated)
    frame = ladder.ladder(run)
    middle = frame[frame["rule"] == "best"].groupby("group", sort=False)["r"].median()
    assert len(middle) == 6 and (middle.iloc[:5] > 0.99).all() and middle.iloc[5] < 0.2
    assert not ladder.quantiles(frame).isna().any(axis=None)


def test_partners_and_rules(run):
    frame = case_studies.partners(run)
    assert len(frame) == SHARED + OWN and (frame["r_lua"] > 0.99).sum() == SHARED
    assert case_studies.pick(run, "universal")["r_merged"] > 0.99
    assert case_studies.pick(run, "vanished")["r_twin"] >= 0.8
    with pytest.raises(ValueError, match="no rule 'prettiest'"):
        case_studies.pick(run, "prettiest")


def test_comparisons_are_computed_once_and_seeds_pair_as_the_arms_say(run):
    assert persistence.seed_pairs(run, "controlled") == [(0, 1), (1, 0)]
    assert persistence.seed_pairs(run, "as_published") == [(0, 0), (1, 1)]
    stamps = {path: path.stat().st_mtime_ns for path in run.root.glob("*/manifest.json")}
    persistence.persistence(run)
    assert stamps == {path: path.stat().st_mtime_ns for path in run.root.glob("*/manifest.json")}


def test_tables_are_rounded_and_stable():
    frame = pd.DataFrame(dict(a=[1 / 3, 2e-9, np.nan], b=["x", "y", "z"]))
    assert csv(frame) == "a,b\n0.333333,x\n0.0,y\n,z\n"


def test_saved_figures_carry_their_provenance_and_do_not_change(run, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(provenance, "provenance", lambda run: dict(profile=run.lineage.name))
    log = run.figures / "saved.txt"
    monkeypatch.setenv("UNIFEAT_SAVED", str(log))
    fig = Figure()
    fig.subplots().plot([1, 2])
    for _ in range(2):
        assert provenance.save(run, fig, "some", numbers=pd.DataFrame(dict(x=[1.23456789]))) is fig
        names = {p.name: p.stat().st_mtime_ns for p in run.figures.iterdir() if p.suffix in (".pdf", ".png", ".json")}
    assert {"some.pdf", "some.png", "some.json", "manifest.json"} <= names.keys()
    assert json.loads((run.figures / "some.json").read_text())["data"] == ["data/numbers.csv"]
    assert (run.figures / "data" / "numbers.csv").read_text() == "x\n1.234568\n"
    assert [json.loads(line)[0] for line in log.read_text().splitlines()] == ["some", "some"]
    assert {Path(file).name for file in json.loads(log.read_text().splitlines()[0])[1:]} == {
        "some.pdf", "some.png", "some.json", "numbers.csv"}


def test_commit_is_a_hash_or_unknown():
    found = notebook_cache.commit().rstrip("+")
    assert found == "unknown" or (len(found) == 40 and set(found) <= set("0123456789abcdef"))


def test_environment_wins_over_notebook_parameters(monkeypatch, tmp_path):
    monkeypatch.setenv("UNIFEAT_PROFILE", "smoke")
    assert open_run("laptop").profile.name == "smoke"
    monkeypatch.setenv("UNIFEAT_CORPORA", str(tmp_path))
    run = open_run("laptop")
    assert run.lineage.corpora.source == "files" and run.lineage.corpora.folder == str(tmp_path)
    assert run.figures.name == f"smoke-{tmp_path.name}"


def test_readme_says_what_the_committed_figures_hold():
    from unifeat.support import paths

    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{readme.MARKERS[0]}\n{readme.results(paths.ROOT / 'figures')}{readme.MARKERS[1]}" in text


def test_as_many_comparisons_at_once_as_there_are_cores_and_fit_the_memory(monkeypatch):
    monkeypatch.setattr(persistence.torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(persistence.limits, "memory", lambda: 16 * 2**30)
    assert persistence.workers(2048) == 6 and persistence.workers(8192) == 5  # of 2.7 GB each in nine tenths of 17.2 GB
    assert persistence.workers(16_384) == persistence.workers(65_536) == 1
