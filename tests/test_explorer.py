"""The explorer's data against plain loops, and its page in a real headless browser."""

import base64
import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from unifeat import explorer, featureview
from unifeat.stages import Comparison

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
            tops=1, shade=["0z5" * explorer.WIDTH] * 4, up=[1, 2], down=[5, 6], text=EVIL if j == 3 else f"word {j}",
            sim=None if j == 5 else j / count, det=0.5,
            match={m: [10 * j, 0.9 - 0.05 * j, int(j < 3), "0z5az0", 1.5] for m in others} | dict(twin=[7, 0.5, 0]))
            for j in range(count)])
    return dict(profile="smoke", source="embedded", tau=0.8, explainer="lexical", vocab=VOCAB, width=explorer.WIDTH,
                context=48, domains=["english", "python", "stories", "lua"], block_domain="0123", models=models,
                blocks=base64.b64encode(blocks.tobytes()).decode())


# Data ------------------------------------------------------------------------------------------------------------

def test_no_text_can_end_the_data_element():
    page = explorer.render(fake()).decode()
    inner = page.split('id="data">')[1].split("</script>")[0]
    assert "<" not in inner and "\u2028" not in inner
    assert json.loads(inner) == fake()


def test_the_page_asks_for_nothing_outside():
    page = explorer.render(fake()).decode()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    assert "innerHTML" not in page and "insertAdjacentHTML" not in page


def test_shades_are_shares_of_the_maximum():
    column = sparse.csc_matrix(np.array([[0.0], [2.0], [0.0], [4.0], [1e-6]]))
    assert explorer._shade(column, 0, np.array([3, 1, 0, -1, 4]), 4.0) == "zi001"
    assert explorer._shade(sparse.csc_matrix((5, 1)), 0, np.array([1, 2]), 0.0) == "00"


def test_scatter_pairs_both_activations_token_by_token():
    a = sparse.csc_matrix(np.array([[0.0], [2.0], [0.0], [4.0]]))
    b = sparse.csc_matrix(np.array([[0.0], [0.0], [3.0], [3.0]]))
    found = explorer._scatter(a, 0, 4.0, b, 0, 3.0)
    assert {found[i:i + 2] for i in range(0, len(found), 2)} == {"i0", "0z", "zz"}


def test_contexts_hold_the_strongest_token_of_different_documents():
    probe = dict(block=np.repeat([0, 1], 40), position=np.tile(np.arange(40), 2), document=np.repeat([0, 1, 2, 3], 20))
    values = np.arange(80.0)
    places, tops = explorer._contexts(np.arange(80), values, probe, 40)
    assert tops == 3 and len(places) == 6
    assert [(block, start + peak) for block, start, peak in places[:3]] == [(1, 39), (1, 19), (0, 39)]
    assert all(0 <= start <= 40 - explorer.WIDTH for _, start, _ in places)


def test_logit_effect_is_what_the_model_does_with_the_decoder_row():
    import torch

    from unifeat import lm, profiles

    torch.manual_seed(0)
    config = profiles.load("smoke").model
    model = lm.build(config, 64, 16)
    one = SimpleNamespace(seed=0, w_dec=torch.nn.functional.normalize(torch.randn(3, config.d_mlp), dim=1))
    run = SimpleNamespace(saes=lambda name: [one], model=lambda name: model,
                          profile=SimpleNamespace(sae=SimpleNamespace(seeds=(0,))))
    up, down = explorer._effects(run, "base", np.array([0, 2]))
    for row, j in enumerate((0, 2)):  # the residual stream is the feature's write alone
        residual = model.model.layers[0].mlp.down_proj(one.w_dec[j])
        logits = model.lm_head(model.model.norm(residual[None]))[0].detach()
        logits[0] = 0
        assert up[row].tolist() == logits.argsort(descending=True)[:explorer.TOKENS].tolist()
        assert down[row].tolist() == logits.argsort()[:explorer.TOKENS].tolist()


def test_too_large_a_page_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(explorer, "data", lambda run: fake())
    run = SimpleNamespace(profile=SimpleNamespace(name="smoke"))
    with pytest.raises(ValueError, match="more than 0.0 MB; lower explorer.MOST"):
        explorer.write(run, tmp_path / "x.html", limit=1000)
    assert not (tmp_path / "x.html").exists()


# In a notebook ---------------------------------------------------------------------------------------------------

def view(feature):
    found = fake()
    found["tokens"] = np.frombuffer(base64.b64decode(found["blocks"]), "<u2")
    return featureview._view(found, feature)


def test_a_view_escapes_and_shades():
    html = view("lua/30")._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "background:#0072B2" in html
    assert html.count("<div") == html.count("</div>") and html.count("<span") == html.count("</span>")


def test_an_unknown_feature_is_named():
    with pytest.raises(ValueError, match=r"There is no feature 'lua/1'; name one as model/number, such as lua/0"):
        view("lua/1")
    with pytest.raises(ValueError, match="such as base/0"):
        view("nobody/3")


def test_browser_widgets_search_and_show(monkeypatch):
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    found = fake() | dict(tokens=np.frombuffer(base64.b64decode(fake()["blocks"]), "<u2"))
    monkeypatch.setattr(featureview, "_data", lambda run: found)
    browser = featureview.browser(object())
    box, bundle = browser.widgets, browser._repr_mimebundle_()
    assert {"text/html", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    assert "feature #110" in bundle["text/html"] and bundle["text/plain"].startswith("lua/110: word 11 (simulation")
    (_, search), chosen, shown = box.children[0].children, box.children[1], box.children[2]
    assert len(chosen.options) == 12 and "feature #" in shown.value
    search.value = "word 7"
    assert chosen.options == (("#70  word 7", "lua/70"),) and "#70" in shown.value
    search.value = "no such thing"
    assert shown.value == "Nothing matches."


def test_without_ipywidgets_the_browser_is_a_view(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    found = fake() | dict(tokens=np.frombuffer(base64.b64decode(fake()["blocks"]), "<u2"))
    monkeypatch.setattr(featureview, "_data", lambda run: found)
    assert set(featureview.browser(object())._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_partners_read_a_comparison_from_either_side():
    table = dict(best_of_a=np.array([1, 0]), r_of_a=np.array([0.9, 0.3]), best_of_b=np.array([1, 0]),
                 r_of_b=np.array([0.3, 0.9]), assigned=np.array([[0, 1], [1, 0]]), r_assigned=np.array([0.9, 0.3]))
    one = Comparison(("base", 0), ("lua", 1), np.array([5, 8]), np.array([2, 7]), table)
    assert explorer._partners(one, 0, 0.8) == {5: (7, 0.9, True), 8: (2, 0.3, False)}
    assert explorer._partners(one, 1, 0.8) == {2: (8, 0.3, False), 7: (5, 0.9, True)}


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
    path.write_bytes(explorer.render(fake(200)))
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


def follow(page, address):
    """The address within the page; a hash is handled by the next event, which this waits for."""
    page.execute_async_script("location.hash = arguments[0]; setTimeout(arguments[1], 60)", address)


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
    page.execute_script("const s = document.getElementById('sort'); s.value = 'simulation';"
                        "s.dispatchEvent(new Event('change'))")
    assert find(page, "#list [data-key]")[0].get_attribute("data-key") == "lua/1990"
    page.execute_script("const s = document.getElementById('fate'); s.value = 'everywhere';"
                        "s.dispatchEvent(new Event('change'))")
    assert len(find(page, "#list [data-key]")) == 3


def test_ribbon_to_list_to_feature_to_match(page):
    ribbon = find(page, ".ribbon[data-model=merged][data-fate=emerged]")[0]
    assert "197 features" in ribbon.get_attribute("aria-label")
    page.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", ribbon)
    assert "197 of 200 features of the Merged model" in text(page, "#found")
    find(page, "#list [data-key]")[0].click()
    assert "Merged feature #" in text(page, "#page h2") and len(find(page, "#page .context")) == 3
    assert len(find(page, "#page .card svg")) == 3 and len(find(page, ".context .heat")) == 12
    find(page, "#page .card a")[0].click()
    assert text(page, "#page h2").startswith("Base feature #")


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


def test_text_of_the_corpora_is_text(page):
    follow(page, "lua/30")
    assert text(page, "#explanation") == EVIL
    assert EVIL in text(page, ".heat") and EVIL in text(page, ".tokens") and page.title != "owned"
    assert page.execute_script("return document.querySelectorAll('#page script, #list script').length") == 0


def test_keys(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        ActionChains(page).send_keys(*keys).perform()
        page.execute_async_script("setTimeout(arguments[0], 60)")

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
    assert "features of the Lua model" in text(page, "#found")


def test_light_and_dark_and_phone_width(page):
    before = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    find(page, "#theme")[0].click()
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", dict(width=390, height=800, deviceScaleFactor=1,
                                                                    mobile=True))
    follow(page, "base/0")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_script("localStorage.clear()")
