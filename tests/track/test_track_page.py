"""The page: whole, offline, safe with any text; its numbers are the card's; a browser shows it."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from unifeat import __main__ as cli
from unifeat.track import curve, html

VOID = {"meta", "link", "path", "line"}


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; refuses one that is not well formed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, *one) for one in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def made(models, text, kept, tmp_path_factory):
    """(the page's path, its text, the card) of a track of two models with names that are no file names."""
    root = tmp_path_factory.mktemp("made")
    for name in ("base", "other"):
        shutil.copytree(models[name], root / f"{name} <b>\"'💥")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIFEAT_STORE", str(kept))
        patch.chdir(root)
        names = [f"{name} <b>\"'💥" for name in ("base", "other")]
        assert cli.main(["track", *names, "--text", str(text), "--quick"]) == 0
    (folder,) = root.glob("track-*")
    return folder / "index.html", (folder / "index.html").read_text(), json.loads((folder / "card.json").read_text())


def test_the_page_is_well_formed_and_no_text_is_markup(made):
    _, text, card = made
    page = Parsed(text)
    assert set(page.seen) <= {
        *VOID, "html", "head", "title", "style", "body", "header", "main", "section", "h1", "h2", "p", "b", "span",
        "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "div", "figure", "figcaption", "svg", "g", "text",
        "details", "summary", "code", "u", "dl", "dt", "dd"}
    words = "".join(page.words)
    assert card["labels"]["a"] == "base <b>\"'💥" and card["labels"]["a"] in words and "the 'other' 💥" in words
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text) and "⟨0x07⟩" in words and "script" in words


def test_the_page_needs_nothing_from_elsewhere(made):
    page = Parsed(made[1])
    assert not {"script", "img", "iframe", "object", "form", "base"} & set(page.seen)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    links = [(tag, value) for tag, name, value in page.attributes if name in ("href", "src", "srcset")]
    assert links == [("link", "data:,")]
    assert "url(" not in made[1] and "@import" not in made[1] and "Content-Security-Policy" in made[1]


def test_the_page_says_what_the_card_says(made):
    _, text, card = made
    words, side = "".join(Parsed(text).words), card["sides"]["persist"]
    for number in (side["share"], side["ceiling"], *side["nulls"].values(), card["sides"]["survive"]["share"]):
        assert html.percent(number) in words
    assert f"{card['run']['compared_tokens']:,} tokens" in words and card["run"]["versions"]["torch"] in words
    assert f"{card['emerged']['count']:,} features of B" in words
    assert f"{card['vanished']['count']:,} features of A" in words
    assert text.count("<details") >= min(200, len(card["pairs"]["r"]))
    assert all(warning.split(",")[0] in words for warning in card["warnings"])


def test_the_card_holds_every_number(made):
    card = made[2]
    assert set(card) == {"schema", "kind", "labels", "asked", "tau", "rule", "intervals", "sides", "warnings", "curve",
                         "pairs", "emerged", "vanished", "run"}
    for side in card["sides"].values():
        assert {"share", "ci", "ceiling", "ceiling_ci", "nulls", "null", "excess", "excess_ci"} <= set(side)
    assert len(card["curve"]["tau"]) == len(card["curve"]["persist"]["share"]) == 41
    pairs, tau = card["pairs"], card["tau"]
    assert pairs["r"] == sorted(pairs["r"], reverse=True) and len(set(pairs["a"])) == len(pairs["a"])
    reached = sum(r >= tau for r in pairs["r"])
    assert card["sides"]["persist"]["each_pair"][0] == pytest.approx(reached / card["run"]["saes"][3]["live"])
    assert card["emerged"]["count"] == card["run"]["saes"][3]["live"] - reached
    assert card["vanished"]["count"] == card["run"]["saes"][0]["live"] - reached
    assert set(card["run"]["versions"]) >= {"unifeat", "python", "torch", "transformers"}
    assert all(len(value) == 64 for one in card["run"]["models"].values() for value in one["sha256"].values())


def test_a_figure_without_numbers_is_still_one():
    none = [None] * 3
    drawn = curve.figure([0, 0.5, 1], dict(share=none, ci_low=none, ci_high=none, within_token=none), 0.5, "share", "a")
    assert Parsed(drawn).seen.count("svg") == 1 and "nan" not in drawn.lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_a_browser_shows_it(made, scheme, width):
    selenium = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    browser = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                dict(width=width, height=900, deviceScaleFactor=1, mobile=False))
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                dict(features=[dict(name="prefers-color-scheme", value=scheme)]))
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", dict(value=True))
        browser.get(made[0].as_uri())
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", dict(value=False))
        assert browser.get_log("browser") == []
        run = browser.execute_script
        assert run("return document.documentElement.scrollWidth") <= width
        paper, ink = (run(f"return getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
        light, dark = (sum(map(int, re.findall(r"\d+", one)[:3])) for one in (paper, ink))
        assert (light > dark) == (scheme == "light") and abs(light - dark) > 500
    finally:
        browser.quit()
