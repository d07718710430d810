"""The explorer's data against plain loops, and its page in a real headless browser."""

import base64
import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from unifeat.explorer import encoding, notebook_view, page
from unifeat.matching.comparison import Comparison
from unifeat.support.errors import UnifeatError

EVIL = "<script>document.title='owned'</script>"
VOCAB = ["<eos>", EVIL, "</script>", "<!--", "&amp;", " the", "↵", "\"'`", "𝄞", "\u2028"] + [f"w{i}" for i in range(30)]


def fake(count=12):
    """Data as `explorer.data` gives it: four models of `count` features, text that would like to be markup."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(1, len(VOCAB), (4, 48)).astype("<u2")
    blocks[0, :10] = range(10)
    models = {}
    for seed, name in enumerate(("base", "lua", "stories", "merged")):
        others = [m for m in ("base", "lua", "stories", "merged") if m != name]
        models[name] = dict(seed=seed % 2, live=count + (name == "base"), features=[dict(
            id=10 * j, max=2.5, fires=j + 1, density=[0.1, 0.01, 0.0, 0.001 * j], at=[0, 48, 60], peak=[3, 4, 5],
            tops=1, shade=["0z5" * page.WIDTH] * 4, up=[1, 2], down=[5, 6],
            told=[["lexical", EVIL if j == 3 else f"word {j}", None if j == 5 else j / count, 0.5]],
            match={m: [10 * j, 0.9 - 0.05 * j, int(j < 3), "0z5az0", 1.5] for m in others} | dict(twin=[7, 0.5, 0]))
            for j in range(count)])
    return dict(profile="smoke", source="embedded", tau=0.8, vocab=VOCAB, width=page.WIDTH,
                context=48, domains=["english", "python", "stories", "lua"], block_domain="0123", models=models,
                blocks=base64.b64encode(blocks.tobytes()).decode())


# Data ------------------------------------------------------------------------------------------------------------

def test_no_text_can_end_the_data_element():
    page = page.render(fake()).decode()
    inner = page.split('id="data">')[1].split("</script>")[0]
    assert "<" not in inner and "\u2028" not in inner
    assert json.loads(inner) == fake()


def test_the_page_asks_for_nothing_outside():
    page = page.render(fake()).decode()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    assert "innerHTML" not in page and "insertAdjacentHTML" not in page


def test_shades_are_shares_of_the_maximum():
    column = sparse.csc_matrix(np.array([[0.0], [2.0], [0.0], [4.0], [1e-6]]))
    assert encoding.shade(column, 0, np.array([3, 1, 0, -1, 4]), 4.0) == "zi001"
    assert encoding.shade(sparse.csc_matrix((5, 1)), 0, np.array([1, 2]), 0.0) == "00"


def test_scatter_pairs_both_activations_token_by_token():
    a = sparse.csc_matrix(np.array([[0.0], [2.0], [0.0], [4.0]]))
    b = sparse.csc_matrix(np.array([[0.0], [0.0], [3.0], [3.0]]))
    found = encoding.scatter(a, 0, 4.0, b, 0, 3.0)
    assert {found[i:i + 2] for i in range(0, len(found), 2)} == {"i0", "0z", "zz"}


@pytest.mark.parametrize("size", [0, 1, 7, 3000])
def test_ranks_are_those_of_a_stable_sort_with_many_ties(size):
    x = np.random.default_rng(size).integers(0, 40, size) / 8
    ranks = np.arange(0, size, 3)
    assert (encoding._ranked(x, ranks) == np.argsort(x, kind="stable")[ranks]).all()


def test_contexts_hold_the_strongest_token_of_different_documents():
    probe = dict(block=np.repeat([0, 1], 40), position=np.tile(np.arange(40), 2), document=np.repeat([0, 1, 2, 3], 20))
    values = np.arange(80.0)
    places, tops = page._contexts(np.arange(80), values, probe, 40)
    assert tops == 3 and len(places) == 6
    assert [(block, start + peak) for block, start, peak in places[:3]] == [(1, 39), (1, 19), (0, 39)]
    assert all(0 <= start <= 40 - page.WIDTH for _, start, _ in places)


def test_logit_effect_is_what_the_model_does_with_the_decoder_row():
    import torch

    from unifeat import lm
    from unifeat.lineage import settings

    torch.manual_seed(0)
    config = settings.load("smoke").model
    model = lm.build(config, 64, 16)
    w_dec = torch.nn.functional.normalize(torch.randn(3, config.d_mlp), dim=1)
    one = SimpleNamespace(seed=0, hook=lm.HOOK, w_dec=w_dec)
    run = SimpleNamespace(sae=lambda name, seed: one, model=lambda name: model,
                          corpus=SimpleNamespace(tokenizer=range(64)),
                          profile=SimpleNamespace(sae=SimpleNamespace(seeds=(0,))))
    up, down = page._effects(run, "base", np.array([0, 2]))
    for row, j in enumerate((0, 2)):  # the residual stream is the feature's write alone
        residual = model.model.layers[0].mlp.down_proj(one.w_dec[j])
        logits = model.lm_head(model.model.norm(residual[None]))[0].detach()
        logits[0] = 0
        assert up[row].tolist() == logits.argsort(descending=True)[:page.TOKENS].tolist()
        assert down[row].tolist() == logits.argsort()[:page.TOKENS].tolist()


def test_a_page_that_is_too_large_leaves_out_the_weakest_contexts_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(page, "data", lambda run: fake())
    run = SimpleNamespace(profile=SimpleNamespace(name="smoke"))
    whole = page.write(run, tmp_path / "x.html")
    size = (tmp_path / "x.html").stat().st_size
    assert whole == f"{tmp_path / 'x.html'}, {size / 1e6:.0f} MB"
    said = page.write(run, tmp_path / "x.html", limit=size - 1)
    assert said.endswith(", 2 instead of 6 contexts per feature to stay under 0 MB")
    inner = (tmp_path / "x.html").read_text().split('id="data">')[1].split("</script>")[0]
    feature = json.loads(inner)["models"]["lua"]["features"][4]
    assert feature["at"] == [0, 48] and feature["peak"] == [3, 4] and feature["tops"] == 1
    assert feature["shade"] == [("0z5" * page.WIDTH)[:2 * page.WIDTH]] * 4
    (tmp_path / "x.html").unlink()
    with pytest.raises(UnifeatError, match="even with one context per feature, more than 0.0 MB; lower MOST"):
        page.write(run, tmp_path / "x.html", limit=1000)
    assert not (tmp_path / "x.html").exists()


def test_the_command_says_where_the_page_is(monkeypatch, tmp_path, capsys):
    from unifeat.__main__ import main
    from unifeat.lineage import run

    assert main(["explorer", "--profile", "smok"]) == 2
    opened = []
    monkeypatch.setattr(page, "data", lambda run: fake())
    monkeypatch.setattr(run, "open_run", lambda *names: opened.append(names) or SimpleNamespace(
        figures=tmp_path, profile=SimpleNamespace(name="smoke")))
    monkeypatch.delenv("EXPLAINER", raising=False)
    assert main(["explorer", "--profile", "smoke", "--corpora", "embedded"]) == 0 and opened == [
        ("smoke", "embedded", "", "")]
    assert capsys.readouterr().out == f"{tmp_path / 'explorer.html'}, 0 MB\n" and (tmp_path / "explorer.html").is_file()
    monkeypatch.setenv("EXPLAINER", "gpt")
    assert main(["explorer", "--profile", "smoke"]) == 2
    assert "EXPLAINER is lexical or llm" in capsys.readouterr().err


def answers(**columns):
    frame = dict(feature=[0, 40], explainer="a-model", explanation=["said & done", ""], simulation=[0.25, np.nan],
                 detection=[np.nan, np.nan])
    return {"lua": pd.DataFrame(frame | columns)}


def test_explanations_of_a_language_model_stand_before_the_lexical_ones():
    found = page.told(fake(), answers())["models"]
    told = {f["id"]: f["told"] for f in found["lua"]["features"]}
    assert told[0] == [["a-model", "said & done", 0.25, None], ["lexical", "word 0", 0.0, 0.5]]
    assert told[40] == [["a-model", "", None, None], ["lexical", "word 4", 4 / 12, 0.5]]
    assert told[10] == [["lexical", "word 1", 1 / 12, 0.5]] and found["base"] == fake()["models"]["base"]
    assert page.told(fake(), answers(explainer="lexical")) == fake() == page.told(fake(), {})


# In a notebook ---------------------------------------------------------------------------------------------------

def view(feature):
    found = fake()
    found["tokens"] = np.frombuffer(base64.b64decode(found["blocks"]), "<u2")
    return notebook_view._view(found, feature)


def test_a_view_escapes_and_shades():
    html = view("lua/30")._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "background:#0072B2" in html
    assert html.count("<div") == html.count("</div>") and html.count("<span") == html.count("</span>")


def test_a_view_names_the_explainers():
    found = page.told(fake(), answers()) | dict(tokens=np.frombuffer(base64.b64decode(fake()["blocks"]), "<u2"))
    assert str(notebook_view._view(found, "lua/0")) == "lua/0: said & done (a-model: simulation 0.25)"
    html = notebook_view._view(found, "lua/40")._repr_html_()
    assert "no explanation (a-model: no score)" in html
    assert "word 4 (lexical: simulation 0.33, detection 0.50)" in html
    assert "said &amp; done" in notebook_view._view(found, "lua/0")._repr_html_()


def test_an_unknown_feature_is_named():
    with pytest.raises(ValueError, match=r"There is no feature 'lua/1'; name one as model/number, such as lua/0"):
        view("lua/1")
    with pytest.raises(ValueError, match="such as base/0"):
        view("nobody/3")


def test_browser_widgets_search_and_show(monkeypatch):
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    found = fake() | dict(tokens=np.frombuffer(base64.b64decode(fake()["blocks"]), "<u2"))
    monkeypatch.setattr(notebook_view, "_data", lambda run: found)
    browser = notebook_view.browser(object())
    box, bundle = browser.widgets, browser._repr_mimebundle_()
    assert {"text/html", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    assert "feature #110" in bundle["text/html"]
    assert bundle["text/plain"].startswith("lua/110: word 11 (lexical: simulation")
    (_, search), chosen, shown = box.children[0].children, box.children[1], box.children[2]
    assert len(chosen.options) == 12 and "feature #" in shown.value
    search.value = "word 7"
    assert chosen.options == (("#70  word 7", "lua/70"),) and "#70" in shown.value
    search.value = "no such thing"
    assert shown.value == "Nothing matches."


def test_without_ipywidgets_the_browser_is_a_view(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    found = fake() | dict(tokens=np.frombuffer(base64.b64decode(fake()["blocks"]), "<u2"))
    monkeypatch.setattr(notebook_view, "_data", lambda run: found)
    assert set(notebook_view.browser(object())._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_partners_read_a_comparison_from_either_side():
    table = dict(best_of_a=np.array([1, 0]), r_of_a=np.array([0.9, 0.3]), best_of_b=np.array([1, 0]),
                 r_of_b=np.array([0.3, 0.9]), assigned=np.array([[0, 1], [1, 0]]), r_assigned=np.array([0.9, 0.3]))
    one = Comparison(("base", 0), ("lua", 1), np.array([5, 8]), np.array([2, 7]), table)
    assert page._partners(one, 0, 0.8) == {5: (7, 0.9, True), 8: (2, 0.3, False)}
    assert page._partners(one, 1, 0.8) == {2: (8, 0.3, False), 7: (5, 0.9, True)}


# In a browser ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def chrome():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = (next(filter(None, map(shutil.which, names)), None) for names in
                      (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)))
    if not (binary and driver):
        pytest.skip("no chromium with its chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--disable-gpu", "--window-size=1300,1000", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # chromium's sandbox does not run as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def page(chrome, tmp_path):
    path = tmp_path / "explorer.html"
    path.write_bytes(page.render(page.told(fake(200), answers())))
    chrome.get("about:blank")
    chrome.get_log("browser")
    chrome.get(path.as_uri())
    yield chrome
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []


def find(page, selector):
    from selenium.webdriver.common.by import By

    return page.find_elements(By.CSS_SELECTOR, selector)


def text(page, selector):
    return page.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def choose(page, control, value):
    page.execute_script("const s = document.getElementById(arguments[0]); s.value = arguments[1];"
                        "s.dispatchEvent(new Event('change'))", control, value)


def settle(page):
    """Waits for what a changed address brings about: it is handled by the next event."""
    page.execute_async_script("setTimeout(arguments[0], 60)")


def follow(page, address):
    page.execute_script("location.hash = arguments[0]", address)
    settle(page)


def test_it_loads_and_lists(page):
    assert page.execute_script("return document.documentElement.dataset.ready") == "true"
    assert "200 of 200 features of the Lua model" in text(page, "#found")
    assert len(find(page, "#list [data-key]")) == 150
    find(page, "#more")[0].click()
    assert len(find(page, "#list [data-key]")) == 200


def test_search_sort_and_fate(page):
    find(page, "#search")[0].send_keys("word 17")
    assert [item.text.split("\n")[0] for item in find(page, "#list [data-key]")][:1] == ["#170"]
    find(page, "#reset")[0].click()
    choose(page, "sort", "simulation")
    assert find(page, "#list [data-key]")[0].get_attribute("data-key") == "lua/1990"
    choose(page, "fate", "everywhere")
    assert len(find(page, "#list [data-key]")) == 3
    choose(page, "model", "all")
    assert "12 of 800 features of all models; 800 of 801 live features are on this page" in text(page, "#found")
    choose(page, "fate", "from-lua")  # only the merge has Lua as a parent
    assert {item.get_attribute("data-key") for item in find(page, "#list [data-key]")} == {
        "merged/0", "merged/10", "merged/20"}
    choose(page, "model", "base")  # which has no parents: the fate is dropped
    assert "200 of 200 features of the Base model" in text(page, "#found")
    assert page.execute_script("return [...document.getElementById('fate').options].map(o => o.value)") == [
        "all", "child", "vanished", "everywhere", "to-lua", "to-stories"]


def test_ribbon_to_list_to_feature_to_match(page):
    ribbon = find(page, ".ribbon[data-model=merged][data-fate=emerged]")[0]
    assert "197 features" in ribbon.get_attribute("aria-label")
    page.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", ribbon)
    settle(page)
    assert "197 of 200 features of the Merged model" in text(page, "#found")
    find(page, "#list [data-key]")[0].click()
    settle(page)
    assert "Merged feature #" in text(page, "#page h2") and len(find(page, "#page .context")) == 3
    assert len(find(page, "#page .card svg")) == 3 and len(find(page, ".context .heat")) == 12
    find(page, "#page .card a")[0].click()
    settle(page)
    assert text(page, "#page h2").startswith("Base feature #")
    for title in ("Merged feature #", "Choose a feature"):  # Back finds the page and the list as they were
        page.back()
        settle(page)
        assert text(page, "#page h2").startswith(title) and "197 of 200 features of the Merged" in text(page, "#found")


def test_back_and_reload_keep_the_search(page):
    find(page, "#search")[0].send_keys("word 17")
    assert "of 200" in text(page, "#found")
    before = text(page, "#found")
    find(page, "#list [data-key]")[0].click()
    settle(page)
    follow(page, "base/0")
    page.back()
    settle(page)
    assert text(page, "#found") == before and find(page, "#search")[0].get_attribute("value") == "word 17"
    page.refresh()
    assert text(page, "#found") == before and text(page, "#page h2") == "Lua feature #170"


def test_both_explanations_are_shown_with_their_scores(page):
    follow(page, "lua/0")
    assert [item.text for item in find(page, "#page .told")] == [
        "said & done (a-model: simulation 0.25, detection –)", "word 0 (lexical: simulation 0.00, detection 0.50)"]
    follow(page, "lua/10")
    assert [item.text for item in find(page, "#page .told")] == ["word 1 (lexical: simulation 0.01, detection 0.50)"]
    find(page, "#search")[0].send_keys("said done")
    assert [item.get_attribute("data-key") for item in find(page, "#list [data-key]")] == ["lua/0"]


@pytest.mark.parametrize("address, found, title", [
    ("lua/emerged", "197 of 200 features of the Lua model", "Choose a feature"),
    ("all/everywhere", "12 of 800 features of all models", "Choose a feature"),
    ("%", "200 of 200 features of the Lua model", "Choose a feature"),
    ("lua/constructor", "200 of 200 features of the Lua model", "Choose a feature"),
    ("merged/30", "200 of 200 features of the Merged model", "Merged feature #30")])
def test_addresses(page, address, found, title):
    start = page.current_url
    page.get("about:blank")
    page.get(f"{start}#{address}")
    assert found in text(page, "#found") and text(page, "#page h2") == title


def test_deep_link_and_copy(page):
    address = page.current_url + "#stories/40"
    page.get("about:blank")
    page.get(address)
    assert text(page, "#page h2") == "Stories feature #40"
    assert find(page, "#url")[0].get_attribute("value") == address
    find(page, "#copy")[0].click()
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert text(page, "#copy") == "Copied"
    follow(page, "stories/41")
    assert "There is no page for #stories/41 here." in text(page, "#page")


def test_a_feature_far_down_the_list_is_marked_there(page):
    follow(page, "lua/1990")
    assert [item.text.split("\n")[0] for item in find(page, "#list [aria-current=true]")] == ["#1990"]
    assert page.execute_script("""
        const row = document.querySelector("#list [aria-current=true]").getBoundingClientRect();
        const box = document.getElementById("list").getBoundingClientRect();
        return box.top <= row.top && row.bottom <= box.bottom;""")


def test_text_of_the_corpora_is_text(page):
    follow(page, "lua/30")
    assert text(page, ".told .what") == EVIL
    assert EVIL in text(page, ".heat") and EVIL in text(page, ".tokens") and page.title != "owned"
    assert page.execute_script("return document.querySelectorAll('#page script, #list script').length") == 0


def test_keys(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        ActionChains(page).send_keys(*keys).perform()
        settle(page)

    def focus():
        return page.execute_script("const e = document.activeElement; return e.dataset.key || e.id || e.tagName")

    press("j")
    first = text(page, "#page h2")
    press("j")
    assert text(page, "#page h2") != first
    press("k")
    assert text(page, "#page h2") == first
    press("/")
    assert page.switch_to.active_element.get_attribute("id") == "search"
    press(Keys.ESCAPE)
    assert page.switch_to.active_element.get_attribute("data-key")
    page.execute_script("document.querySelector('.ribbon').focus()")
    press(Keys.ENTER)
    assert "3 of 200 features of the Lua model" in text(page, "#found") and focus() == "lua/0"
    press(Keys.ARROW_DOWN)
    assert focus() == "lua/10"
    press(Keys.ENTER)
    assert text(page, "#page h2") == "Lua feature #10" and focus() == "page"
    press(Keys.ESCAPE)
    assert focus() == "lua/10"
    press(Keys.TAB)  # the list is one stop
    assert focus() == "url"


def test_light_and_dark_and_phone_width(page):
    before = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    find(page, "#theme")[0].click()
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", dict(width=390, height=800, deviceScaleFactor=1,
                                                                    mobile=True))
    follow(page, "base/0")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    assert page.execute_script("return document.getElementById('flow').getBoundingClientRect().right") <= 390
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_script("localStorage.clear()")


LUMINANCE = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const value = (...layers) => {
  for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b + .05;
};
const color = node => getComputedStyle(node).backgroundColor;
return [...document.querySelectorAll(".heat span, .who, .soft, .key, .tag")].map(node => {
  const box = node.closest(".card, #list [aria-current=true]") || document.body;
  const below = [color(document.body), color(box), color(node)], a = value(...below);
  const b = value(...below, getComputedStyle(node).color);
  return Math.max(a / b, b / a);
});
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_keeps_the_contrast_of_wcag_aa(page, theme):
    page.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    for model in ("base", "lua", "stories", "merged"):
        follow(page, f"{model}/10")
        found = page.execute_script(LUMINANCE)
        assert len(found) > 200 and min(found) >= 4.5
