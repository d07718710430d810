"""The explorer's page in a real headless browser: list, search, pages, keys, addresses, themes."""

import pytest
from explorer_data import EVIL, answers, fake
from on_page import choose, fates, find, follow, keys, resize, settle, text

from unifeat.explorer import page


@pytest.fixture
def tab(load):
    return load(page.told(fake(200), answers()))


def test_it_loads_and_lists(tab):
    assert tab.execute_script("return document.documentElement.dataset.ready") == "true"
    assert "200 of 200 features of the Lua model" in text(tab, "#found")
    assert len(keys(tab)) == 150
    find(tab, "#more")[0].click()
    assert len(keys(tab)) == 200


def test_search_sort_and_fate(tab):
    find(tab, "#search")[0].send_keys("word 17")
    assert [item.text.split("\n")[0] for item in find(tab, "#list [data-key]")][:1] == ["#170"]
    find(tab, "#reset")[0].click()
    choose(tab, "sort", "simulation")
    assert keys(tab)[0] == "lua/1990"
    choose(tab, "fate", "everywhere")
    assert len(keys(tab)) == 3
    choose(tab, "model", "all")
    assert "12 of 800 features of all models; 800 of 801 live features are on this page" in text(tab, "#found")
    choose(tab, "fate", "from-lua")  # only the merge has Lua as a parent
    assert set(keys(tab)) == {"merged/0", "merged/10", "merged/20"}
    choose(tab, "model", "base")  # which has no parents: the fate is dropped
    assert "200 of 200 features of the Base model" in text(tab, "#found")
    assert fates(tab) == ["all", "child", "vanished", "everywhere", "to-lua", "to-stories"]
    choose(tab, "domain", "2")
    assert "0 of 200" in text(tab, "#found") and "Nothing matches" in text(tab, "#list")


def test_ribbon_to_list_to_feature_to_match(tab):
    ribbon = find(tab, ".ribbon[data-model=merged][data-fate=emerged]")[0]
    assert "197 features" in ribbon.get_attribute("aria-label")
    tab.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", ribbon)
    settle(tab)
    assert "197 of 200 features of the Merged model" in text(tab, "#found")
    find(tab, "#list [data-key]")[0].click()
    settle(tab)
    assert "Merged feature #" in text(tab, "#page h2") and len(find(tab, "#page .context")) == 3
    assert len(find(tab, "#page .card svg")) == 3 and len(find(tab, ".context .heat")) == 12
    find(tab, "#page .card a")[0].click()
    settle(tab)
    assert text(tab, "#page h2").startswith("Base feature #")
    for title in ("Merged feature #", "Choose a feature"):  # Back finds the page and the list as they were
        tab.back()
        settle(tab)
        assert text(tab, "#page h2").startswith(title) and "197 of 200 features of the Merged" in text(tab, "#found")


def test_back_and_reload_keep_the_search(tab):
    find(tab, "#search")[0].send_keys("word 17")
    assert "of 200" in text(tab, "#found")
    before = text(tab, "#found")
    find(tab, "#list [data-key]")[0].click()
    settle(tab)
    follow(tab, "base/0")
    tab.back()
    settle(tab)
    assert text(tab, "#found") == before and find(tab, "#search")[0].get_attribute("value") == "word 17"
    tab.refresh()
    assert text(tab, "#found") == before and text(tab, "#page h2") == "Lua feature #170"


def test_both_explanations_are_shown_with_their_scores(tab):
    follow(tab, "lua/0")
    assert [item.text for item in find(tab, "#page .told")] == [
        "said & done (a-model: simulation 0.25, detection –)", "word 0 (lexical: simulation 0.00, detection 0.50)"]
    follow(tab, "lua/10")
    assert [item.text for item in find(tab, "#page .told")] == ["word 1 (lexical: simulation 0.01, detection 0.50)"]
    find(tab, "#search")[0].send_keys("said done")
    assert keys(tab) == ["lua/0"]


@pytest.mark.parametrize("address, found, title", [
    ("lua/emerged", "197 of 200 features of the Lua model", "Choose a feature"),
    ("all/everywhere", "12 of 800 features of all models", "Choose a feature"),
    ("%", "200 of 200 features of the Lua model", "Choose a feature"),
    ("lua/constructor", "200 of 200 features of the Lua model", "Choose a feature"),
    ("constructor/all", "200 of 200 features of the Lua model", "Choose a feature"),
    ("merged/30", "200 of 200 features of the Merged model", "Merged feature #30")])
def test_addresses(tab, address, found, title):
    start = tab.current_url
    tab.get("about:blank")
    tab.get(f"{start}#{address}")
    assert found in text(tab, "#found") and text(tab, "#page h2") == title


def test_deep_link_and_copy(tab):
    address = tab.current_url + "#stories/40"
    tab.get("about:blank")
    tab.get(address)
    assert text(tab, "#page h2") == "Stories feature #40"
    assert find(tab, "#url")[0].get_attribute("value") == address
    find(tab, "#copy")[0].click()
    tab.execute_async_script("setTimeout(arguments[0], 200)")
    assert text(tab, "#copy") == "Copied"
    follow(tab, "stories/41")
    assert "There is no page for #stories/41 here." in text(tab, "#page")


def test_a_feature_far_down_the_list_is_marked_there(tab):
    follow(tab, "lua/1990")
    assert [item.text.split("\n")[0] for item in find(tab, "#list [aria-current=true]")] == ["#1990"]
    assert tab.execute_script("""
        const row = document.querySelector("#list [aria-current=true]").getBoundingClientRect();
        const box = document.getElementById("list").getBoundingClientRect();
        return box.top <= row.top && row.bottom <= box.bottom;""")


def test_text_of_the_corpora_is_text(tab):
    follow(tab, "lua/30")
    assert text(tab, ".told .what") == EVIL
    assert EVIL in text(tab, ".heat") and EVIL in text(tab, ".tokens") and tab.title != "owned"
    assert tab.execute_script("return document.querySelectorAll('#page script, #list script').length") == 0


def test_keys(tab):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        ActionChains(tab).send_keys(*keys).perform()
        settle(tab)

    def focus():
        return tab.execute_script("const e = document.activeElement; return e.dataset.key || e.id || e.tagName")

    press("j")
    first = text(tab, "#page h2")
    press("j")
    assert text(tab, "#page h2") != first
    press("k")
    assert text(tab, "#page h2") == first
    press("/")
    assert tab.switch_to.active_element.get_attribute("id") == "search"
    press(Keys.ESCAPE)
    assert tab.switch_to.active_element.get_attribute("data-key")
    tab.execute_script("document.querySelector('.ribbon').focus()")
    press(Keys.ENTER)
    assert "3 of 200 features of the Lua model" in text(tab, "#found") and focus() == "lua/0"
    press(Keys.ARROW_DOWN)
    assert focus() == "lua/10"
    press(Keys.ENTER)
    assert text(tab, "#page h2") == "Lua feature #10" and focus() == "page"
    press(Keys.ESCAPE)
    assert focus() == "lua/10"
    press(Keys.TAB)  # the list is one stop
    assert focus() == "url"


def test_light_and_dark_and_phone_width(tab):
    before = tab.execute_script("return getComputedStyle(document.body).backgroundColor")
    find(tab, "#theme")[0].click()
    assert tab.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    resize(tab, 390, 800)
    follow(tab, "base/0")
    assert tab.execute_script("return document.documentElement.scrollWidth") <= 390
    assert tab.execute_script("return document.getElementById('flow').getBoundingClientRect().right") <= 390


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
LURID = {f"child{i + 1}": dict(color=color)
         for i, color in enumerate(("#ffffff", "#000000", "#ffff00", "#0000ff", "#ff0000", "#808080"))}


@pytest.mark.parametrize("shape, looks", [("diamond", {}), ("star", LURID)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_keeps_the_contrast_of_wcag_aa(load, theme, shape, looks):
    tab = load(fake(20, shape, **looks))
    if tab.execute_script("return document.documentElement.dataset.theme") != theme:
        find(tab, "#theme")[0].click()
    for model in fake(1, shape)["names"]:
        follow(tab, f"{model}/10")
        found = tab.execute_script(LUMINANCE)
        assert len(found) > 200 and min(found) >= 4.5
