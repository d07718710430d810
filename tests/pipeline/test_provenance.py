"""Figures with their numbers and what they depend on, as they are written under figures/."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from unifeat import plots
from unifeat.lineage import read
from unifeat.lineage.run import Run
from unifeat.pipeline import headline, notebook_cache, provenance
from unifeat.support.tables import csv


def test_tables_are_rounded_and_stable():
    frame = pd.DataFrame(dict(a=[1 / 3, 2e-9, np.nan], b=["x", "y", "z"]))
    assert csv(frame) == "a,b\n0.333333,x\n0.0,y\n,z\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that has no text yet."""
    monkeypatch.setattr(provenance, "provenance", lambda run: dict(lineage=run.lineage.name))
    return Run(read("smoke"), tmp_path / "store", tmp_path / "figures")


def stamps(folder: Path) -> dict:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_saved_figures_carry_their_provenance_and_do_not_change(run, monkeypatch):
    log = run.figures.parent / "saved.txt"
    monkeypatch.setenv("UNIFEAT_SAVED", str(log))
    tables = dict(numbers=pd.DataFrame(dict(x=[1.23456789])), none=None)
    for _ in range(2):
        fig, before = Figure(), stamps(run.figures)
        fig.subplots().plot([1, 2])
        assert provenance.save(run, fig, "some", **tables) is fig
    assert stamps(run.figures) == before
    assert before.keys() == {"some.pdf", "some.png", "some.json", "numbers.csv", "manifest.json", "timings.json"}
    assert json.loads((run.figures / "some.json").read_text())["data"] == ["data/numbers.csv"]
    assert (run.figures / "data" / "numbers.csv").read_text() == "x\n1.234568\n"
    (name, *files), again = map(json.loads, log.read_text().splitlines())
    assert name == "some" == again[0]
    assert {Path(file).name for file in files} == {"some.pdf", "some.png", "some.json", "numbers.csv"}


def test_a_figure_that_is_left_out_leaves_a_sentence_in_its_place_until_it_is_drawn(run):
    fig = Figure()
    provenance.save(run, fig, "some")
    provenance.save(run, plots.LeftOut("This lineage has no merge."), "some", numbers=pd.DataFrame(dict(x=[1])))
    assert {path.name for path in run.figures.glob("some.*")} == {"some.txt"}
    assert (run.figures / "some.txt").read_text() == "This lineage has no merge.\n"
    assert (run.figures / "data" / "numbers.csv").is_file()
    provenance.save(run, fig, "some")
    assert {path.name for path in run.figures.glob("some.*")} == {"some.pdf", "some.png", "some.json"}


def test_the_note_names_lineage_text_models_and_another_hook(tmp_path):
    lineage = read("smoke", **{"sae.hook": "blocks.0.hook_mlp_out"})
    run = Run(lineage, tmp_path, tmp_path, given=dict(a=Path("/m/tuned")))
    assert provenance.note(run, "More.") == (
        "Lineage smoke; corpora: embedded stand-ins, not the paper's data. Models given: a = tuned. SAEs at "
        "blocks.0.hook_mlp_out. More.")
    assert provenance.note(Run(read("paper"), tmp_path, tmp_path)) == "Lineage paper; corpora: the paper's data sets."


def test_names_of_models_do_not_collide_with_what_else_has_a_seed(tmp_path):
    (tmp_path / "own.toml").write_text('extends = "smoke"\n[models.model]\ntrain = { text = ["lua"], seed = 3 }\n'
                                       '[models.saes]\nparent = "model"\nfinetune = { text = ["lua"], seed = 4 }\n')
    run = SimpleNamespace(lineage=read(tmp_path / "own.toml"), corpus=SimpleNamespace(rows=[]), given={})
    seeds = provenance.provenance(run)["seeds"]
    assert seeds == {"model model": 3, "model saes": 4, "corpora": 0, "model": 0, "saes": [0, 1], "comparison": 0}


@pytest.mark.parametrize("way, words", [
    ("train = { text = ['lua'] }", ""), ("parent = 'a'\nfinetune = { text = ['lua'] }", "fine-tune"),
    ("checkpoint = { of = 'a', step = 1 }", "step 1"), ("untrained = { seed = 1 }", "random weights"),
    ("parent = 'a'\nquantized = 4", "4 bits"), ("parent = 'a'\nperturbed = { share = 0.1 }", "random step"),
    ("given = 'o/n'", "given")])
def test_how_a_model_was_made_in_a_word_or_two(tmp_path, way, words):
    start = 'extends = "smoke"\n[models.a]\ntrain = { text = ["lua"] }\n'
    (tmp_path / "own.toml").write_text(f"{start}[models.b]\n{way}\n")
    assert provenance.made(Run(read(tmp_path / "own.toml"), tmp_path, tmp_path), "b") == words


def test_commit_is_a_hash_or_unknown():
    found = notebook_cache.commit().rstrip("+")
    assert found == "unknown" or (len(found) == 40 and set(found) <= set("0123456789abcdef"))


def test_headline_numbers_are_the_one_to_one_shares_of_the_pairs_and_agree_where_intervals_meet(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [dict(arm=arm, parent="a", child="b", side=side, rule=rule, tau=tau, features=features, observed=share,
                 ci_low=share - 0.02, ci_high=share + 0.02, excess=0.5, excess_low=0.4, excess_high=0.6)
            for arm, side, rule, tau, features, share in (
                ("controlled", "both", "one_to_one", 0.8, "all", 0.3),
                ("as_published", "both", "one_to_one", 0.8, "all", 0.9),
                ("controlled", "child", "one_to_one", 0.8, "all", 0.9),
                ("controlled", "both", "best", 0.8, "all", 0.9), ("controlled", "both", "one_to_one", 0.7, "all", 0.9),
                ("controlled", "both", "one_to_one", 0.8, "beyond_token", 0.9))]
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "persistence.csv", index=False)
    here = headline.numbers(tmp_path, 0.8)
    assert here[["edge", "number", "value"]].values.tolist() == [["a → b", "observed, all", 0.3],
                                                                 ["a → b", "excess, all", 0.5]]
    other = here.assign(low=[0.33, 0.5], high=[0.4, 0.9])
    assert [line.rsplit(": ", 1)[1] for line in headline.agreement(here, other)] == ["DIFFER", "agree"]
    assert headline.agreement(here, here.assign(edge="c → d")) == []
