"""Lineages of every shape from text to tables: three models of the user's, one alone, twelve of all kinds."""

import numpy as np
import pandas as pd
import pytest
import tiny

from unifeat.autointerp import explain, groups, split
from unifeat.lineage import demo, read
from unifeat.lineage.run import opened
from unifeat.pipeline import promises, provenance
from unifeat.studies import (
    ablation,
    case_studies,
    ceilings,
    edges,
    feature_flow,
    functional,
    ladder,
    merge_sweep,
    pair_agreement,
    persistence,
    sae_transfer,
    substitution,
    weight_matching,
)
from unifeat.studies.shares import FEATURES

SMALL = {"sae.width": 48, "sae.k": 4, "sae.tokens": 8_000, "sae.buffer": 4_000, "sae.batch": 200, "sae.warmup": 2,
         "sae.dead_after": 2_000, "comparison.tokens": 1_280, "comparison.min_fires": 5, "comparison.bootstrap": 5,
         "evaluation.tokens": 640, "evaluation.ngram": 2, "merge.points": 3}
TWELVE = """
[text.x]
[text.y]
[models.a]
train = { text = ["x"] }
[models.b1]
parent = "a"
finetune = { text = ["y"] }
[models.b2]
parent = "a"
finetune = { text = ["x", "y"] }
[models.b3]
parent = "b1"
finetune = { text = ["x"] }
[models.m]
merge = ["b1", "b2"]
[models.n]
merge = ["m", "b3"]
method = "lerp"
t = 0.5
[models.c]
checkpoint = { of = "b2", step = 20 }
[models.q]
parent = "b1"
quantized = 4
[models.r]
parent = "a"
perturbed = { like = "b1" }
[models.s]
parent = "m"
perturbed = { share = 0.01 }
[models.z]
train = { text = ["y"] }
[models.raw]
untrained = { seed = 5 }
"""
WORDS = dict(x=tiny.WORDS["english"], y=tiny.WORDS["lua"])

def tables(run) -> dict[str, pd.DataFrame]:
    """Every table of a run, as the notebooks make them."""
    names, (a, b) = run.lineage.names, run.lineage.sae.seeds[:2]
    run.train_models()
    run.train_saes()
    persistence.prepare(run)
    weight_matching.prepare(run)
    models = run.losses(*names, "ngram")
    matches = {edge: run.compare((edge[0], a), (edge[1], b)) for edge in run.lineage.edges}
    pairs = {edge: pair_agreement.pairs(run, one) for edge, one in matches.items()}
    tau, sweep = run.lineage.comparison.tau, run.merge_sweep()
    scores = split.marked(run, groups.grouped(run, explain.explained(run)))
    return dict(
        corpora=run.corpus.stats(), logs=run.logs(*names), models=models, saes=run.sae_table(), sae_logs=run.sae_logs(),
        densities=run.densities(), kept=merge_sweep.kept(run, models),
        **({} if sweep is None else dict(merge_sweep=sweep,
                                         merge_kept=merge_sweep.curves(run, run.merges[0], sweep))),
        persistence=persistence.persistence(run), ceilings=ceilings.ceilings(run),
        flow=feature_flow.flow(run), ladder=ladder.ladder_table(run),
        swap=sae_transfer.swap(run), weights=weight_matching.shares(run),
        explanations=scores, explanations_split=split.split(scores),
        agreement=edges.by_edge({edge: pair_agreement.agreement(one, tau) for edge, one in pairs.items()},
                                pair_agreement.COLUMNS),
        causal=edges.by_edge({(p, c): ablation.causal(run, (p, a), (c, b)) for p, c in run.lineage.edges},
                             ablation.CAUSAL_COLUMNS),
        substitution=substitution.table(run), functional=functional.summary(substitution.table(run), tau),
        cases=pd.concat([case_studies.case_table(case_studies.case(run, rule)) for rule in case_studies.RULES]))


def as_promised(run, found: dict[str, pd.DataFrame]) -> None:
    """What is true of the tables of any lineage."""
    p, n = run.lineage, len(run.lineage.names)
    for name, columns in {**promises.TABLES, **promises.OF_A_SHAPE}.items():
        if name in found:
            assert ",".join(found[name].columns) == columns
            assert len(found[name]) or not p.edges and name in promises.WITH_EDGES
    assert len(found["saes"]) == n * len(p.sae.seeds) and set(found["models"]["model"]) == {*p.names, "ngram"}
    assert found["models"]["loss_nats"].between(0, 12).all() and found["saes"]["live"].gt(0).all()
    assert len(found["swap"]) == n * n and set(found["logs"]["model"]) == set(p.names)
    at = found["persistence"][found["persistence"]["tau"] == p.comparison.tau]
    arms_of = 1 + (p.published is not None)
    assert len(at) == len(p.pairs) * 3 * (3 * arms_of + len(FEATURES) - 1)  # sides, rules, sets of features
    every = at[at["features"] == "all"]
    assert every[["observed", "ci_low", "ci_high", "ceiling", "null"]].apply(lambda x: x.between(0, 1)).all(axis=None)
    assert set(found["weights"]["edge"]) == {f"{a} → {b}" for a, b in p.edges} == set(found["causal"]["edge"])
    assert len(found["agreement"]) == 3 * len(p.edges)
    assert set(found["functional"]["edge"]) == set(found["causal"]["edge"])
    for kind in ("observed", "ceiling"):
        shares = found["functional"].pivot(index="edge", columns="verdict", values=kind)
        assert shares.apply(lambda x: x.between(0, 1)).all(axis=None)
        assert not p.edges or (shares["joint"] <= shares[["activation", "function"]].min(axis=1) + 1e-9).all()
    assert len(found["ceilings"]) == 4 * n and found["ceilings"]["of_latents"].between(0, 1).all()
    assert found["ceilings"].query("features == 'all'")["null_untrained"].between(0, 1).all()
    assert found["ladder"]["group"].str.startswith("seed ceiling").sum() == 2 * n
    assert {(row.parent, row.child) for row in at.itertuples()} == set(p.pairs)
    shown = provenance.summary(run)
    assert set(shown["models"]) == set(shown["saes"]) == set(p.names)
    assert all(np.isfinite(one["loss"]) for one in shown["models"].values())


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Function from TOML of text and models to a run of tiny sizes."""
    monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / "store"))
    text = tiny.text(tmp_path / "text", WORDS)
    return lambda toml: opened(read(tiny.lineage(tmp_path / "own.toml", toml, text)), tmp_path / "figures")


def test_three_models_of_the_users_on_two_domains(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / "store"))
    mine = demo.make(str(tiny.lineage(tmp_path / "sizes.toml", folder="its own"))) / "mine.toml"
    run = opened(read(mine, **SMALL), tmp_path / "figures")
    assert (run.lineage.names, run.lineage.domains) == (("a", "b", "c"), ("x", "y"))
    assert run.lineage.edges == (("a", "b"), ("a", "c")) and set(run.given) == {"a", "b"}
    found = tables(run)
    as_promised(run, found)
    assert "merge_sweep" not in found and found["kept"].empty
    assert provenance.made(run, "a") == "given" and provenance.made(run, "c") == "fine-tune"
    assert {"persist into C", "B features"} & set(found["explanations"]["group"]) == {"B features"}


def test_a_model_alone(small):
    run = small('[text.x]\n[text.y]\n[models.a]\ntrain = { text = ["x", "y"] }\n')
    found = tables(run)
    as_promised(run, found)
    assert found["persistence"].empty and found["flow"].empty and found["weights"].empty
    assert "A features" in set(found["explanations"]["group"])


def test_twelve_models_of_all_kinds(small):
    run = small(TWELVE)
    assert len(run.lineage.names) == 12 and run.merges == ("m", "n")
    found = tables(run)
    as_promised(run, found)
    assert set(found["kept"]["merge"]) == {"m", "n"} and len(found["kept"]) == 4
    assert run.merge_t("n") == 0.5 and 0 <= run.merge_t("m") <= 1 and run.merge_sweep("n")["merge"].eq("n").all()
    assert found["flow"].set_index(["source", "target", "kind"]).index.is_unique
    rounded = found["persistence"].query("child == 'q' and tau == 0.8 and arm == 'as_published' and rule == 'best'")
    assert rounded["observed"].between(0, 1).all()
