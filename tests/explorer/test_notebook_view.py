"""One feature in a notebook, and the browser of features."""

import base64
import sys

import numpy as np
import pytest
from explorer_data import answers, fake

from unifeat.explorer import notebook_view, page


def data(shape="diamond", **looks):
    found = fake(shape=shape, **looks)
    return found | dict(tokens=np.frombuffer(base64.b64decode(found["blocks"]), "<u2"))


@pytest.fixture
def known(monkeypatch):
    """The data of `explore` and `browser`: made up."""
    monkeypatch.setattr(notebook_view, "_data", lambda shape, frames=None: page.told(data(shape), frames or {}))


def test_a_view_escapes_and_shades():
    html = notebook_view._view(data(), "lua/30")._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "background:#0d79b6" in html
    assert html.count("<div") == html.count("</div>") and html.count("<span") == html.count("</span>")


def test_labels_and_colors_are_the_lineages():
    html = notebook_view._view(data(lua=dict(label="Moon & sun", color="#aa0000")), "lua/20")._repr_html_()
    assert "Moon &amp; sun" in html and "border-left:.5em solid #aa0000" in html and ">Base</span>" in html
    assert "English 10 %" in html and "Seed twin" in html


@pytest.mark.parametrize("color", ["#000000", "#ffffff", "#ffff00", "#cc79a7", "#0000ff", "#4d4d4d"])
def test_text_on_a_shade_is_legible_on_a_light_and_on_a_dark_page(color):
    found, opaque = notebook_view._heat(color), sum(notebook_view.SHADES) / 255

    def light(on):
        mixed = [opaque * int(found[i:i + 2], 16) / 255 + (1 - opaque) * on for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in mixed]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    assert light(1) / 0.05 >= 4.5 and 1.05 / light(0.07) >= 4.5


def test_a_view_names_the_explainers():
    found = page.told(data(), answers())
    assert str(notebook_view._view(found, "lua/0")) == "lua/0: said & done (a-model: simulation 0.25)"
    html = notebook_view._view(found, "lua/40")._repr_html_()
    assert "no explanation (a-model: no score)" in html
    assert "word 4 (lexical: simulation 0.33, detection 0.50)" in html
    assert "said &amp; done" in notebook_view._view(found, "lua/0")._repr_html_()


def test_an_unknown_feature_is_named():
    with pytest.raises(ValueError, match=r"There is no feature 'lua/1'; name one as model/number, such as lua/0"):
        notebook_view._view(data(), "lua/1")
    with pytest.raises(ValueError, match="such as base/0"):
        notebook_view._view(data(), "nobody/3")


@pytest.mark.parametrize("shape, first", [("diamond", "lua"), ("chain", "b"), ("star", "child1"), ("single", "only")])
def test_without_a_name_the_best_explained_of_the_first_edges_child_is_shown(known, shape, first):
    assert notebook_view.explore("", shape).entry["id"] == 110 and notebook_view.explore("", shape).model == first
    assert notebook_view.explore(run=shape, frames=answers()).entry["id"] == 110
    assert notebook_view.browser(shape).view.model == first


def test_a_lineage_without_scores_shows_its_first_feature(known, monkeypatch):
    found = data("single")
    for f in found["models"]["only"]["features"]:
        f["told"][0][2] = None
    monkeypatch.setattr(notebook_view, "_data", lambda run, frames=None: found)
    assert notebook_view.explore("", "single").entry["id"] == 0


def test_activations_that_are_not_there_are_not_shown():
    html = notebook_view._view(data("star"), "child4/20")._repr_html_()
    context = html.split("<div style='border-top")[1]
    assert "Child4" in context and "Root" in context and "Child2" in context and "Child6" not in context
    assert "Child6" in html  # its match is


def test_browser_widgets_search_and_show(known):
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    browser = notebook_view.browser("diamond")
    box, bundle = browser.widgets, browser._repr_mimebundle_()
    assert {"text/html", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    assert "feature #110" in bundle["text/html"]
    assert bundle["text/plain"].startswith("lua/110: word 11 (lexical: simulation")
    (model, search), chosen, shown = box.children[0].children, box.children[1], box.children[2]
    assert dict(model.options) == dict(Base="base", Lua="lua", Stories="stories", Merged="merged")
    assert len(chosen.options) == 12 and "feature #" in shown.value
    search.value = "word 7"
    assert chosen.options == (("#70  word 7", "lua/70"),) and "#70" in shown.value
    search.value = "no such thing"
    assert shown.value == "Nothing matches."


def test_without_ipywidgets_the_browser_is_a_view(known, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(notebook_view.browser("diamond")._repr_mimebundle_()) == {"text/html", "text/plain"}
