"""The explorer's page: what it is made of, without a browser."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import explorer_data
import numpy as np
import pandas as pd
import pytest
from explorer_data import EVIL, answers, fake

from unifeat.explorer import collect, page
from unifeat.studies import persistence
from unifeat.support.errors import UnifeatError


def inner(text: str) -> str:
    return text.split('id="data">')[1].split("</script>")[0]


@pytest.fixture
def known(monkeypatch):
    """A run whose features and shares are made up."""
    run = explorer_data.run()
    monkeypatch.setattr(page, "data", lambda run: explorer_data.stored(run.lineage))
    monkeypatch.setattr(page, "shares", lambda run: explorer_data.shares(run.lineage))
    return run


def test_no_text_can_end_the_data_element():
    found = fake(base=dict(label="</script><script>", short="</ScRiPt >", phrase="<!--<script>"))
    text = inner(page.render(found).decode())
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text) == found


def test_the_page_asks_for_nothing_outside():
    text = page.render(fake()).decode()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "outerHTML" not in text
    assert "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:\"" in text


def test_the_template_names_no_model_and_no_domain():
    text = page.TEMPLATE.read_text(encoding="utf-8")
    assert not re.findall(r"(?i)\b(base|lua|stories|merged|english|python)\b", text)


def test_the_data_say_how_the_models_are_related():
    found = fake(shape="diamond", lua=dict(color="#123456"))
    assert found["names"] == ["base", "lua", "stories", "merged"] and found["lineage"] == "smoke"
    assert [(edge["parent"], edge["child"]) for edge in found["edges"]] == [
        ("base", "lua"), ("base", "stories"), ("lua", "merged"), ("stories", "merged")]
    assert found["edges"][1]["shares"]["child"] == dict(
        observed=0.088, low=pytest.approx(0.078), high=pytest.approx(0.098), ceiling=0.66, null=0.0)
    base, lua = found["models"]["base"], found["models"]["lua"]
    assert (base["label"], base["short"], base["phrase"]) == ("Base (English+Python)", "Base", "the base")
    assert (lua["color"], lua["parents"], lua["children"]) == ("#123456", ["base"], ["merged"])
    assert [domain["label"] for domain in found["domains"]] == ["English", "Python", "Stories", "Lua"]
    assert all(set(domain) == {"name", "label", "color"} for domain in found["domains"])


def test_without_edges_there_are_no_shares(monkeypatch):
    monkeypatch.setattr(persistence, "persistence", lambda run: pd.DataFrame(columns=persistence.COLUMNS))
    assert page.shares(explorer_data.run("single")) == {} and fake(shape="single")["edges"] == []


def test_shares_are_those_at_tau_one_to_one_of_different_seeds(monkeypatch):
    rows = [dict(arm=arm, parent="a", child=child, side=side, rule=rule, tau=tau, observed=tau / 2, ci_low=0.1,
                 ci_high=np.nan, ceiling=0.9, null=0.001, excess=0.5, features=features)
            for arm in ("controlled", "as_published") for child in ("b", "c") for side in ("parent", "child", "both")
            for rule in ("best", "one_to_one") for tau in (0.5, 0.8) for features in ("all", "beyond_both")]
    rows = [row if (row["arm"], row["rule"], row["features"]) == ("controlled", "one_to_one", "all")
            else row | dict(observed=0.0) for row in rows]
    monkeypatch.setattr(persistence, "persistence", lambda run: pd.DataFrame(rows))
    share = dict(observed=0.4, low=0.1, high=None, ceiling=0.9, null=0.001)
    assert page.shares(explorer_data.run("chain")) == {("a", "b"): dict(parent=share, child=share)}  # a, c is no edge


def test_a_page_that_is_too_large_leaves_out_the_weakest_contexts_and_says_so(known, tmp_path):
    whole = page.write(known, tmp_path / "x.html")
    size = (tmp_path / "x.html").stat().st_size
    assert whole == f"{tmp_path / 'x.html'}, {size / 1e6:.0f} MB"
    said = page.write(known, tmp_path / "x.html", limit=size - 1)
    assert said.endswith(", 2 instead of 6 contexts per feature to stay under 0 MB")
    feature = json.loads(inner((tmp_path / "x.html").read_text()))["models"]["lua"]["features"][4]
    assert feature["at"] == [0, 48] and feature["peak"] == [3, 4] and feature["tops"] == 1
    assert feature["shade"] == [("0z5" * page.WIDTH)[:2 * page.WIDTH]] * 4
    (tmp_path / "x.html").unlink()
    with pytest.raises(UnifeatError, match="even with one context per feature, more than 0.0 MB; lower MOST"):
        page.write(known, tmp_path / "x.html", limit=1000)
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("shape", ["long", "star"])
def test_eight_models_of_many_features_stay_under_the_limit(shape):
    p = explorer_data.lineage(shape)
    found = explorer_data.fake(collect.MOST // len(p.names), shape)
    for model in found["models"].values():  # six contexts, a whole scatter and eight tokens of each kind
        for f in model["features"]:
            f |= dict(at=[10_000] * 6, peak=[17] * 6, shade=["0z5" * 2 * page.WIDTH] * len(f["shade"]), up=[2000] * 8,
                      down=[2000] * 8, told=[["lexical", "x" * 60, 0.123, 0.123]])
            f["match"] = {m: [*one[:3], "0z" * 36, 12.25] if len(one) > 3 else one for m, one in f["match"].items()}
    assert len(page.render(page.thinned(found, 3))) < page.LIMIT


def test_the_command_says_where_the_page_is(known, monkeypatch, tmp_path, capsys):
    from unifeat.__main__ import main
    from unifeat.lineage import run

    assert main(["explorer", "--lineage", "smok"]) == 2
    opened = []
    known.figures = tmp_path
    monkeypatch.setattr(run, "open_run", lambda *names: opened.append(names) or known)
    monkeypatch.delenv("EXPLAINER", raising=False)
    assert main(["explorer", "--lineage", "smoke", "--corpora", "embedded"]) == 0 and opened == [
        ("smoke", "embedded", "", "")]
    assert capsys.readouterr().out == f"{tmp_path / 'explorer.html'}, 0 MB\n" and (tmp_path / "explorer.html").is_file()
    monkeypatch.setenv("EXPLAINER", "gpt")
    assert main(["explorer", "--lineage", "smoke"]) == 2
    assert "EXPLAINER is lexical or llm" in capsys.readouterr().err


def test_explanations_of_a_language_model_stand_before_the_lexical_ones():
    found = page.told(fake(), answers())["models"]
    told = {f["id"]: f["told"] for f in found["lua"]["features"]}
    assert told[0] == [["a-model", "said & done", 0.25, None], ["lexical", "word 0", 0.0, 0.5]]
    assert told[40] == [["a-model", "", None, None], ["lexical", "word 4", 4 / 12, 0.5]]
    assert told[10] == [["lexical", "word 1", 1 / 12, 0.5]] and found["base"] == fake()["models"]["base"]
    assert page.told(fake(), answers(explainer="lexical")) == fake() == page.told(fake(), {})


def test_a_changed_color_or_label_is_on_the_page_and_not_in_the_stage(monkeypatch):
    p, asked = explorer_data.lineage("chain"), []

    def key(p):
        def stage(name, build, config, inputs):
            asked.append((name, json.dumps(config, default=repr), inputs))
            raise KeyError

        with pytest.raises(KeyError):
            page.data(SimpleNamespace(lineage=p, corpus_stage="text", feature_stage=lambda name: name, stage=stage))
        return asked[-1]

    repainted = explorer_data.lineage("chain", b=dict(color="#ff0000", label=EVIL))
    assert key(p) == key(repainted) and key(p)[2] == ["text", "a", "b", "c"]
    assert explorer_data.fake(shape="chain", b=dict(color="#ff0000", label=EVIL))["models"]["b"]["label"] == EVIL
    related = replace(p, models=p.models | dict(c=replace(p.models["c"], parents=("a",))))
    assert key(related) != key(p)
    assert key(replace(p, text=dict(reversed(p.text.items())))) != key(p)
