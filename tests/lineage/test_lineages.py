"""What a lineage says of itself: extends, edges, pairs, layers, roots, the text of each model, labels and colors."""

import pytest

from unifeat.lineage import LineageError, choose, published, read
from unifeat.support.theme import DOMAIN_PALETTE, GREY, MODEL_PALETTE

START = """extends = "smoke"
[text.x]
source = "files"
path = "x.txt"
[text.y]
source = "files"
path = "text/y"
[models.a]
train = { text = ["x"] }
"""


def lineage(folder, more="", start=START):
    (folder / "own.toml").write_text(start + more)
    return read(folder / "own.toml")


CHILDREN = """
[models.b]
parent = "a"
finetune = { text = ["y"], weights = [2] }
[models.c]
parent = "a"
finetune = { text = ["x", "y"], weights = [1, 3], lr = 1e-5 }
"""
MERGE = '[models.m]\nmerge = ["b", "c"]\nt = 0.25\n'


# What is extended ---------------------------------------------------------------------------------------------------

def test_models_are_replaced_and_settings_are_merged(tmp_path):
    p, smoke = lineage(tmp_path, "[sae]\nk = 4\n"), read("smoke")
    assert p.names == ("a",) and p.domains == ("x", "y") and p.compare == () and not p.shipped
    assert (p.sae.k, p.sae.width, p.model, p.corpora) == (4, smoke.sae.width, smoke.model, smoke.corpora)
    assert p.models["a"].train.lr == smoke.models["base"].train.lr  # what [train] says of every training


def test_a_model_of_the_same_name_keeps_what_is_not_said_of_it(tmp_path):
    p = lineage(tmp_path, '[models.base]\n[models.lua]\nfinetune = { tokens = 9_999_999 }\n', 'extends = "smoke"\n')
    smoke = read("smoke")
    assert p.names == ("base", "lua") and p.models["base"] == smoke.models["base"] and p.text == smoke.text
    assert p.models["lua"].finetune.tokens == 9_999_999 and p.models["lua"].parent == "base"
    assert p.models["lua"].finetune.text == ("lua",) and p.models["lua"].color == smoke.models["lua"].color


def test_a_model_that_is_made_in_another_way_inherits_nothing_from_the_one_of_its_name(tmp_path):
    p = lineage(tmp_path, '[models.base]\n[models.merged]\nparent = "base"\nquantized = 4\n', 'extends = "smoke"\n')
    one = p.models["merged"]
    assert one.ways == ["quantized"] and one.origins == ("base",) and one.published_t is None
    assert one.label == one.color == ""  # it is another model


PAPER = 'extends = "smoke"\n[models.base]\n[models.lua]\n[models.stories]\n[models.merged]\n'


def test_what_was_published_of_a_merge_goes_with_its_parents(tmp_path):
    """And the shipped sweep keeps its bare name, so that no record holds a folder of one machine."""
    kept = lineage(tmp_path, "t = 0.4\n", PAPER).models["merged"]
    assert (kept.published_t, kept.published_sweep) == (0.58, "horn_elliott_sweep.csv")
    turned = lineage(tmp_path, 'merge = ["stories", "lua"]\n', PAPER).models["merged"]
    assert turned.published_t is None and turned.published_sweep == "" and turned.label == "Merged (SLERP)"
    without = lineage(tmp_path, 'published_sweep = ""\n', PAPER).models["merged"]
    assert without.published_sweep == "" and without.published_t == 0.58
    (tmp_path / "horn_elliott_sweep.csv").write_text((published.FOLDER / "horn_elliott_sweep.csv").read_text())
    own = lineage(tmp_path, 'published_sweep = "horn_elliott_sweep.csv"\n', PAPER).models["merged"]
    assert own.published_sweep == str(tmp_path / "horn_elliott_sweep.csv")  # the file beside comes first


def test_files_extend_files_and_paths_are_meant_from_where_a_file_lies(tmp_path):
    (tmp_path / "sub").mkdir()
    lineage(tmp_path / "sub", '[models.g]\ngiven = "../model"\n[models.h]\nparent = "g"\ngiven = "owner/name"\n')
    p = lineage(tmp_path, '[sae]\nk = 2\n', 'extends = "sub/own.toml"\n')
    assert p.text["y"].path == str(tmp_path / "sub" / "text" / "y")
    assert p.models["g"].given == str(tmp_path / "model") and p.models["h"].given == "owner/name"
    (tmp_path / "sub" / "owner" / "name").mkdir(parents=True)  # a folder of that name comes before the hub
    assert read(tmp_path / "own.toml").models["h"].given == str(tmp_path / "sub" / "owner" / "name")


def test_pairs_to_compare_go_with_the_models_they_name(tmp_path):
    assert lineage(tmp_path, "", 'extends = "smoke"\n').compare == (("base", "merged"),)
    assert lineage(tmp_path, "[models.base]\n", 'extends = "smoke"\n').compare == ()
    kept = 'extends = "smoke"\ncompare = [["lua", "base"]]\n[models.base]\n[models.lua]\n'
    assert lineage(tmp_path, "", kept).pairs == (("base", "lua"), ("lua", "base"))


# What follows from the parents --------------------------------------------------------------------------------------

def test_edges_pairs_layers_and_roots_of_a_diamond(tmp_path):
    p = lineage(tmp_path, CHILDREN + MERGE)
    assert p.edges == (("a", "b"), ("a", "c"), ("b", "m"), ("c", "m")) == p.pairs
    assert p.layers == (("a",), ("b", "c"), ("m",)) and p.roots == ("a",)
    assert p.parents("m") == ("b", "c") and p.children("a") == ("b", "c") and p.children("m") == ()
    again = lineage(tmp_path, CHILDREN + MERGE, 'compare = [["a", "m"], ["a", "b"]]\n' + START)
    assert again.pairs == (*p.edges, ("a", "m"))  # an edge is not measured twice


def test_order_in_the_file_is_free_and_two_roots_stand_side_by_side(tmp_path):
    start = START.replace("[models.a]", CHILDREN + "[models.a]")
    p = lineage(tmp_path, '[models.z]\ntrain = { text = ["y"] }\n', start)
    assert p.names == ("b", "c", "a", "z") and p.roots == ("a", "z") and p.layers == (("a", "z"), ("b", "c"))


def test_nulls_have_no_text_of_their_own_and_an_untrained_model_is_no_root(tmp_path):
    p = lineage(tmp_path, CHILDREN + '[models.u]\nuntrained = { seed = 1 }\n[models.q]\nparent = "b"\nquantized = 4\n'
                '[models.r]\nparent = "a"\nperturbed = { like = "b" }\n')
    assert p.roots == ("a",) and ("b", "q") in p.edges and ("a", "r") in p.edges and p.layers[2] == ("q", "r")
    assert p.mix("q") == p.mix("b") == (("y",), (2.0,)) and p.mix("u") == (("x", "y"), (1.0, 1.0))
    only = lineage(tmp_path, '[models.u]\nuntrained = { seed = 1 }\n', START.partition("[models")[0])
    assert only.roots == ("u",) and only.edges == ()


def test_a_checkpoint_is_a_parent_of_its_model_and_is_made_on_its_own(tmp_path):
    p = lineage(tmp_path, CHILDREN + '[models.early]\ncheckpoint = { of = "a", step = 1 }\n'
                                     '[models.late]\ncheckpoint = { of = "a", step = 2 }\n')
    assert "late" in p.parents("a") and ("late", "a") in p.edges
    assert "early" in p.layers[0] and "late" in p.layers[0]  # not after the model it is a checkpoint of
    assert p.mix("early") == p.mix("a")


def test_checkpoints_make_a_chain_from_the_parent_to_the_model(tmp_path):
    p = lineage(tmp_path, CHILDREN + '[models.early]\ncheckpoint = { of = "b", step = 1 }\n'
                                     '[models.late]\ncheckpoint = { of = "b", step = 2 }\n')
    assert p.parents("b") == ("late",) and p.parents("late") == ("early",) and p.parents("early") == ("a",)
    assert p.roots == ("a",)


def test_the_mix_is_what_a_model_was_trained_on_and_a_merges_is_its_parents(tmp_path):
    p = lineage(tmp_path, CHILDREN + MERGE + '[models.g]\nparent = "a"\ngiven = "o/n"\n'
                '[models.h]\nparent = "a"\ngiven = "o/h"\ntext = ["y"]\n[models.n]\nmerge = ["m", "h"]\n')
    assert p.mix("b") == (("y",), (2.0,)) and p.mix("c") == (("x", "y"), (1.0, 3.0))
    assert dict(zip(*p.mix("m"), strict=True)) == {"y": 5.0, "x": 1.0}
    assert p.mix("g") == (("x", "y"), (1.0, 1.0)) and p.mix("h") == (("y",), (1.0,))
    assert dict(zip(*p.mix("n"), strict=True)) == {"y": 6.0, "x": 1.0}


@pytest.mark.parametrize("text, read_by_a, read_by_c", [
    ("common", (("x", "y"), (1.0, 1.0)), (("x", "y"), (1.0, 1.0))),
    ("own", (("x",), (1.0,)), (("x", "y"), (1.0, 3.0))),
    ("b", (("y",), (2.0,)), (("y",), (2.0,))),
])
def test_saes_read_all_domains_or_what_their_model_or_a_named_one_was_trained_on(tmp_path, text, read_by_a, read_by_c):
    p = lineage(tmp_path, f'{CHILDREN}[sae]\ntext = "{text}"\n')
    assert (p.sae_text("a"), p.sae_text("c")) == (read_by_a, read_by_c)


def test_the_text_of_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(LineageError, match=r"sae\.text must be common, own or the name of a model"):
        lineage(tmp_path, '[sae]\ntext = "nobody"\n')


# Names and colors ---------------------------------------------------------------------------------------------------

def test_labels_and_colors_follow_from_names_and_order_where_nothing_is_said(tmp_path):
    more = CHILDREN.replace("[models.c]", '[models.c]\nlabel = "The third"\nshort = "3rd"\ncolor = "#0072B2"')
    theme = lineage(tmp_path, more + '[models.my_own]\nmerge = ["b", "c"]\n').theme
    assert [theme.model(name).label for name in ("a", "b", "c", "my_own")] == ["A", "B", "The third", "My own"]
    assert theme.short("c") == theme.model("c").phrase == "3rd" and theme.edge("c", "my_own") == "3rd → My own"
    free = [color for color in MODEL_PALETTE if color != "#0072B2"]
    assert [theme.color(name) for name in ("a", "b", "c", "my_own")] == [*free[:2], "#0072B2", free[2]]
    assert [theme.domain(name).color for name in ("x", "y")] == list(DOMAIN_PALETTE[:2])
    assert theme.model("stranger").color == GREY and theme.edges == lineage(tmp_path, more).edges + (
        ("b", "my_own"), ("c", "my_own"))


def test_up_to_eight_models_differ_in_color_and_marker(tmp_path):
    more = "".join(f'[models.b{i}]\nparent = "a"\nquantized = {i + 2}\n' for i in range(11))
    theme = lineage(tmp_path, more).theme
    looks = [theme.model(name) for name in list(theme.models)[:8]]
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == 8
    assert len(theme.models) == 12 and all(look.color for look in theme.models.values())


def test_the_papers_looks_are_those_of_its_file():
    theme = read("laptop").theme
    assert theme.model("base").label == "Base (English+Python)" and theme.color("merged") == "#CC79A7"
    assert theme.own["merged"] == ("lua", "stories")


# Shortcuts ----------------------------------------------------------------------------------------------------------

def test_given_models_by_name_the_first_is_the_parent_but_where_another_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    p = choose("smoke", models="root=m/root, tuned=~/t, deep:tuned=/d")
    assert p.edges == (("root", "tuned"), ("tuned", "deep")) and p.compare == () and not p.shipped
    assert p.models["root"].given == str(tmp_path / "m" / "root") and p.models["deep"].given == "/d"
    assert p.domains == read("smoke").domains and p.mix("deep")[0] == p.domains


def test_a_folder_of_text_gives_its_domains_where_models_are_given(tmp_path):
    for name in ("chat.jsonl", "web.txt", "old.parquet", ".hidden.txt", "notes.pdf"):
        (tmp_path / name).write_text("x")
    (tmp_path / "books").mkdir()
    p = choose("smoke", str(tmp_path), models="a=/m")
    assert p.domains == ("books", "chat", "old", "web") and p.mix("a")[0] == p.domains
    assert p.text["chat"].path == str(tmp_path / "chat.jsonl") and p.corpora.source == "files"


def test_a_source_or_folder_is_that_of_every_domain(tmp_path):
    (tmp_path / "x").mkdir()
    assert {one.source for one in choose("smoke", "hub").text.values()} == {"hub"}
    p = choose("smoke", str(tmp_path))
    assert p.corpora.folder == str(tmp_path) and {(one.source, one.path) for one in p.text.values()} == {("files", "")}
    assert choose("smoke", hook="blocks.0.hook_mlp_out").sae.hook == "blocks.0.hook_mlp_out"
