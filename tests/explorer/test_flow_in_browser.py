"""The ribbons of lineages of any shape, and what follows from the shape."""

import pytest
from explorer_data import EVIL, fake
from on_page import choose, fates, find, follow, keys, resize, settle, text, texts

OVERLAPS = """
const boxes = [...document.querySelectorAll("#flow text")].map(t => [t.getBBox(), t.textContent]), out = [];
const all = document.getElementById("flow").viewBox.baseVal;
boxes.forEach(([p, s], i) => {
  if (p.x < -1 || p.y < -1 || p.x + p.width > all.width + 1 || p.y + p.height > all.height + 1) out.push(s);
  boxes.slice(0, i).forEach(([q, t]) => {
    if (Math.min(p.x + p.width, q.x + q.width) - Math.max(p.x, q.x) > 1
      && Math.min(p.y + p.height, q.y + q.height) - Math.max(p.y, q.y) > 4) out.push(s + " | " + t);
  });
});
return out;
"""
BARS = """return [...document.querySelectorAll(".ribbon.bar")].map(bar => {
  const box = bar.getBBox(); return [bar.dataset.model, box.x, box.y, box.width, box.height];
});"""


def some(j, a, b):
    """Whether feature j persists between a and b: 10, 35, 65 or 85 % do."""
    return (j * 7919 + len(a + b)) % 1000 / 1000 < (0.1, 0.35, 0.65, 0.85)[sum(map(ord, a + b)) % 4]


def ribbons(tab):
    """(model, fate) of each ribbon, fading end and bar."""
    return [tuple(one) for one in tab.execute_script(
        "return [...document.querySelectorAll('.ribbon')].map(one => [one.dataset.model, one.dataset.fate])")]


@pytest.mark.parametrize("shape, edges", [
    ("diamond", 4), ("chain", 2), ("star", 6), ("roots", 4), ("long", 7), ("mixed", 8), ("single", 0),
    ("unrelated", 0)])
@pytest.mark.parametrize("width", [1400, 900, 420, 320])
def test_every_shape_fits_every_screen(load, shape, edges, width):
    found = fake(60, shape, kept=some)
    tab = load(found)
    resize(tab, width)
    assert len([one for one in ribbons(tab) if one[1].startswith("from-")]) == edges
    assert {one[0] for one in tab.execute_script(BARS)} == set(found["names"])
    assert tab.execute_script("return document.documentElement.scrollWidth") <= width
    if width >= 400:
        assert tab.execute_script(OVERLAPS) == []


@pytest.mark.parametrize("shape, first", [("chain", "B"), ("star", "Child1"), ("diamond", "Lua"), ("single", "Only")])
def test_the_first_edges_child_is_shown_first(load, shape, first):
    assert f"12 of 12 features of the {first} model" in text(load(fake(shape=shape)), "#found")


@pytest.mark.parametrize("width", [1400, 420])
def test_each_ribbon_shows_its_share_its_ceiling_and_its_null(load, width):
    tab = load(fake(50, "chain", domains=("x", "y")))
    resize(tab, width)
    said = [one.replace("\xa0", " ") for one in texts(tab, "#flow text")]
    assert "3 (6 %; ceiling 65 %, null 0 %)" in said and "3 (6 %; ceiling 66 %, null 0 %)" in said
    assert said.count("47 emerge") == said.count("47 vanish") == 2 and "B: 50 features" in said
    ribbon = find(tab, ".ribbon[data-fate=from-a]")[0]
    told = ("Persists from A into B: 3 features (6 %; ceiling 65 %, null 0 %). Over all pairs of SAE seeds: 8.8 % of "
            "the features of B (95 % interval 7.8 % to 9.8 %; ceiling 65 %, null 0 %), 7.0 % of the features of A (95 "
            "% interval 6.0 % to 8.0 %; ceiling 75 %, null 0 %).")
    assert ribbon.get_attribute("aria-label") == told == ribbon.find_element("css selector", "title").get_property(
        "textContent")


def test_an_edge_without_shares_shows_its_count_alone(load):
    found = fake(50, "chain")
    for edge in found["edges"]:
        edge["shares"] = None
    assert "3 (6 %)" in texts(load(found), "#flow text")


def test_a_share_that_does_not_exist_is_a_dash(load):
    found = fake(50, "chain")
    found["edges"][0]["shares"]["child"] |= dict(ceiling=None, null=0.003)
    assert "3 (6 %; ceiling –, null 0.3 %)" in texts(load(found), "#flow text")


def test_nothing_persists_and_everything_persists(load):
    tab = load(fake(20, "chain", kept=lambda j, a, b: a == "b"))
    said = texts(tab, "#flow text")
    assert "0 (0 %; ceiling 65 %, null 0 %)" in said and "20 (100 %; ceiling 66 %, null 0 %)" in said
    assert ("b", "vanished") not in ribbons(tab) and ("b", "emerged") in ribbons(tab)
    assert tab.execute_script(OVERLAPS) == []


def test_a_model_without_live_features_has_a_bar(load):
    found = fake(20, "chain")
    found["models"]["c"] |= dict(features=[], live=0)
    for one in (f for name in "ab" for f in found["models"][name]["features"]):
        del one["match"]["c"]
    tab = load(found)
    assert "0 (0 %; ceiling 66 %, null 0 %)" in texts(tab, "#flow text")
    choose(tab, "model", "c")
    assert "0 of 0 features of the C model" in text(tab, "#found") and "Nothing matches" in text(tab, "#list")


def test_what_a_merge_lost_though_all_its_parents_share_it(load):
    found = fake(12, "diamond", kept=lambda j, a, b: j < (4 if "merged" in (a, b) else 6))
    tab = load(found)
    choose(tab, "model", "stories")
    assert "lost in Merged, though all its parents have it" in texts(tab, "#fate option")
    choose(tab, "fate", "lost-merged")
    assert "2 of 12 features of the Stories model" in text(tab, "#found")
    choose(tab, "model", "base")
    assert "lost-merged" not in fates(tab)


def test_filters_follow_a_chain(load):
    tab = load(fake(12, "chain", kept=lambda j, a, b: j < (6 if a == "b" else 3)))
    assert fates(tab) == ["all", "parent", "emerged", "child", "vanished", "everywhere", "from-a", "to-c"]
    for fate, count in dict(parent=3, emerged=9, child=6, vanished=6, everywhere=3).items():
        choose(tab, "fate", fate)
        assert f"{count} of 12 features of the B model" in text(tab, "#found")
    choose(tab, "model", "c")
    assert fates(tab) == ["all", "parent", "emerged", "everywhere", "from-b"]
    assert "in all three models" in texts(tab, "#fate option")
    choose(tab, "model", "a")
    assert fates(tab) == ["all", "child", "vanished", "everywhere", "to-b"]
    assert texts(tab, "#model option") == ["A", "B", "C", "all three"]
    assert texts(tab, "#domain option") == ["any domain", "English", "Python", "Stories", "Lua"]


def test_filters_follow_a_star(load):
    tab = load(fake(12, "star", kept=lambda j, a, b: b == "root" and j < int(a[-1])))
    choose(tab, "model", "root")
    assert fates(tab) == ["all", "child", "vanished", "everywhere", *(f"to-child{i}" for i in range(1, 7))]
    for fate, count in {"child": 6, "vanished": 6, "everywhere": 1, "to-child4": 4}.items():
        choose(tab, "fate", fate)
        assert f"{count} of 12 features of the Root model" in text(tab, "#found")
    follow(tab, "root/30")
    assert texts(tab, "#page .tag") == [*(f"not in Child{i}" for i in (1, 2, 3)),
                                        *(f"persists in Child{i}" for i in (4, 5, 6))]
    assert len(find(tab, "#page .card svg")) == 6
    follow(tab, "child4/30")  # of its five sisters two are drawn
    assert len(find(tab, "#page .card")) == 7 and len(find(tab, "#page .card svg")) == 3
    assert len(find(tab, "#page .context")) == 3 and len(find(tab, "#page .heat")) == 12


def test_two_roots_and_a_ribbon_that_passes_a_layer(load):
    tab = load(fake(20, "roots"))
    bars = {name: (x, y, width, height) for name, x, y, width, height in tab.execute_script(BARS)}
    assert bars["left"][0] == bars["right"][0] < bars["both_"][0] < bars["last"][0]
    crosses = tab.execute_script("""
        const path = document.querySelector(".ribbon[data-model=last][data-fate=from-left]");
        const [x, y, width, height] = arguments[0], at = document.getElementById("flow").createSVGPoint();
        const inside = w => { at.x = x + width / 2; at.y = y + w * height; return path.isPointInFill(at); };
        return [.1, .3, .5, .7, .9].some(inside);""", bars["both_"])
    assert not crosses  # it goes beside the bar


def test_a_single_model_is_a_bar(load):
    tab = load(fake(12, "single"))
    assert ribbons(tab) == [("only", "all")] and texts(tab, "#flow text") == ["Only: 12 features"]
    assert text(tab, "#flowtitle") == "All features" and text(tab, "#legend") == "Choose a bar to list its features."
    assert fates(tab) == ["all"] and texts(tab, "#model option") == ["Only"]
    assert "r in the seed twin" in texts(tab, "#sort option") and "best r in another model" not in texts(
        tab, "#sort option")
    follow(tab, "only/20")
    assert text(tab, "#page h2") == "Only feature #20" and len(find(tab, "#page .card")) == 1
    assert "Match in another seed" in texts(tab, "#page h3") and len(find(tab, ".context .heat")) == 3


def test_ribbons_are_drawn_anew_when_the_window_changes(load):
    tab = load(fake(30, "long"))
    resize(tab, 1400)
    wide = {one[0]: one[1:] for one in tab.execute_script(BARS)}
    find(tab, ".ribbon.bar")[1].click()
    settle(tab)
    resize(tab, 420)
    narrow = {one[0]: one[1:] for one in tab.execute_script(BARS)}
    assert wide["a"][0] < wide["b"][0] and wide["a"][1] == wide["b"][1]  # side by side
    assert narrow["a"][1] < narrow["b"][1] and narrow["a"][2] > narrow["a"][3]  # below one another
    assert [one.get_attribute("data-model") for one in find(tab, ".ribbon.on")] == ["b"]


@pytest.mark.parametrize("names", [("constructor", "all", "7"), ("toString", "1", "valueOf")])
def test_names_that_mean_something_to_a_script_are_names(load, monkeypatch, names):
    import explorer_data

    first, second, third = names
    monkeypatch.setitem(explorer_data.SHAPES, "odd", {first: "", second: first, third: second})
    tab = load(fake(12, "odd"))
    assert "12 of 12 features of" in text(tab, "#found") and len(ribbons(tab)) == 2 + 4 + 3
    choose(tab, "model", third)
    choose(tab, "fate", f"from-{second}")
    assert keys(tab) == [f"{third}/{i}" for i in (0, 10, 20)]
    assert len(find(tab, "#model option")) == 4
    choose(tab, "model", tab.execute_script("return document.querySelector('#model option:last-child').value"))
    assert "of 36 features of all models" in text(tab, "#found")


def test_labels_that_would_like_to_be_markup_are_text_and_cut_where_they_are_long(load):
    looks = dict(label=EVIL * 3, short=EVIL * 3, phrase=EVIL * 3)
    tab = load(fake(12, "chain", a=looks, b=looks, c=looks))
    for width in (1400, 420):
        resize(tab, width)
        assert tab.execute_script(OVERLAPS) == [] and any("…" in one for one in texts(tab, "#flow text"))
        assert tab.execute_script("return document.documentElement.scrollWidth") <= width
    follow(tab, "b/20")
    assert tab.title != "owned" and tab.execute_script("return document.querySelectorAll('script').length") == 2


def test_what_the_browser_remembers_of_another_lineage_does_no_harm(load):
    tab = load(fake(12, "chain"), "#c/emerged")
    tab.execute_script("history.replaceState({model: 'gone', fate: 'to-gone', domain: '9', sort: 'x', search: ''}, '')")
    tab.refresh()
    assert "12 of 12 features of the B model" in text(tab, "#found")


def test_colors_are_those_of_the_data(load):
    tab = load(fake(12, "chain", b=dict(color="#0b5f00")))
    tab.execute_script("document.documentElement.dataset.theme !== 'light' && document.getElementById('theme').click()")
    bar = find(tab, ".ribbon.bar[data-model=b]")[0]
    assert tab.execute_script("return getComputedStyle(arguments[0]).fill", bar) == "rgb(11, 95, 0)"
    follow(tab, "b/10")
    colors = tab.execute_script(
        "return [...document.querySelectorAll('.bars .bar')].map(e => getComputedStyle(e).backgroundColor)")
    assert len(set(colors)) == 4  # of the domains
