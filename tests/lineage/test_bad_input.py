"""Lineages that cannot be: each is refused in one sentence that names what is wrong and what to do."""

import re

import pytest

from unifeat.lineage import LineageError, choose, read
from unifeat.support.errors import UnifeatError

START = """extends = "smoke"
[text.x]
source = "files"
path = "x.txt"
[models.a]
train = { text = ["x"] }
"""
B = '[models.b]\nparent = "a"\nquantized = 4\n'


def refused(call) -> str:
    """The sentence with which `call` is refused."""
    with pytest.raises(UnifeatError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and text[-1] in ".?" and len(text) < 420, text
    return text


def model(name: str, **settings: str) -> str:
    return f"[models.{name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


FINETUNE = '{ text = ["x"] }'
SHAPES = {
    "a circle": (model("b", parent='"c"', finetune=FINETUNE) + model("c", parent='"b"', finetune=FINETUNE),
                 r"go in a circle \(b → c → b\)"),
    "its own parent": (model("b", parent='"b"', finetune=FINETUNE), r"circle \(b → b\)"),
    "its own checkpoint": (model("b", parent='"c"', finetune=FINETUNE)
                           + model("c", checkpoint='{ of = "b", step = 1 }'), r"circle \(b → c → b\)"),
    "an unknown parent": (model("tuned", parent='"aa"', finetune=FINETUNE),
                          r"models.tuned names the model 'aa', .* did you mean 'a'\?"),
    "an unknown parent, nothing near": (model("b", parent='"zebra"', finetune=FINETUNE), "'zebra'.*it has a, b"),
    "no parent": (model("b", finetune=FINETUNE), "finetune needs a parent"),
    "a parent too many": (model("b", parent='"a"', train=FINETUNE), "train takes no parent"),
    "two ways": (model("b", parent='"a"', finetune=FINETUNE, quantized="4"),
                 r"two ways \(finetune and quantized\); state exactly one of train, finetune, merge"),
    "no way": (model("b", parent='"a"'), "is made in no way; state exactly one of"),
    "a merge of none": (model("b", merge="[]"), "is made in no way"),
    "a merge of one": (model("b", merge='["a"]'), r"merge needs two different models or more, not \['a'\]"),
    "a merge of the same twice": (model("b", merge='["a", "a"]'), "two different models"),
    "a merge of three": (B + model("c", parent='"a"', quantized="5") + model("d", merge='["a", "b", "c"]'),
                         "slerp merges two models, not 3; linear merges more"),
    "TIES without a base": (B + model("d", merge='["a", "b"]', method='"ties"'), "have no one parent in common"),
    "a base that is merged": (B + model("d", merge='["a", "b"]', method='"dare"', options='{ base = "a" }'),
                              "options.base 'a' is one of the models to merge"),
    "too few weights": (B + model("d", merge='["a", "b"]', method='"linear"', options="{ weights = [1.0] }"),
                        "one number for each model"),
    "weights that add up to 0": (B + model("d", merge='["a", "b"]', method='"linear"',
                                           options="{ weights = [1.0, -1.0] }"), "and not add up to 0"),
    "no density": (B + model("d", merge='["a", "b"]', method='"ties"', options='{ base = "d2", density = 0.0 }')
                   + model("d2", parent='"a"', quantized="4"), "options.density must be above 0"),
    "an evolver of two": (B + model("d", merge='["a", "b"]', method='"evolver"'), "needs 3 models or more"),
    "an evolver's rule": (B + model("d", merge='["a", "b"]', method='"evolver"', options='{ rule = "best" }'),
                          "options.rule must be one of paper, code, not 'best'"),
    "an evolver's size": (B + model("d", merge='["a", "b"]', method='"evolver"', options='{ f = 1.5, rule = "code" }'),
                          "options.f and options.cr must be from 0 to 1"),
    "options of slerp": (B + model("d", merge='["a", "b"]', options="{ scale = 0.5 }"), "options are for merges by"),
    "a merge of an unknown one": (B + model("d", merge='["a", "bb"]'), "'bb'.*did you mean 'b'"),
    "t beyond 1": (B + model("d", merge='["a", "b"]', t="1.5"), "t must be balanced or a number from 0 to 1, not 1.5"),
    "t in words": (B + model("d", merge='["a", "b"]', t='"best"'), "t must be balanced or .* not 'best'"),
    "another method": (B + model("d", merge='["a", "b"]', method='"best"'), "method must be one of .*, not 'best'"),
    "a published t beyond 1": (B + model("d", merge='["a", "b"]', published_t="2.0"), "published_t must be 0 to 1"),
    "a published sweep of no merge": (model("d", parent='"a"', quantized="4", published_sweep='"s.csv"'),
                                      "published_sweep is for a merge of two models"),
    "parents of a trained one": (B + model("d", parents='["a", "b"]', train=FINETUNE), "parents is for given models"),
    "one of two parents": (model("d", parents='["a"]', given='"g/h"'), "parents must name two different models"),
    "a checkpoint of what is not trained": (B + model("d", checkpoint='{ of = "b", step = 1 }'),
                                            "checkpoint needs a model that is trained here"),
    "a checkpoint beyond the end": (model("d", checkpoint='{ of = "a", step = 100_000 }'), "from 0 to its last"),
    "a checkpoint before the start": (model("d", checkpoint='{ of = "a", step = -1 }'), "from 0 to its last"),
    "one bit": (model("d", parent='"a"', quantized="1"), "quantized must be 2 to 16 bits, not 1"),
    "a perturbation without size": (model("d", parent='"a"', perturbed="{}"), "either like .* or share"),
    "two sizes": (B + model("d", parent='"a"', perturbed='{ like = "b", share = 0.1 }'), "either like .* or share"),
    "like an ancestor": (B + model("d", parent='"b"', perturbed='{ like = "b" }'), "a child of the same parent"),
    "a negative seed": (model("d", untrained="{ seed = -1 }"), "untrained.seed must be 0 or more, not -1"),
    "text of an unknown domain": (model("b", parent='"a"', finetune='{ text = ["xx"] }'),
                                  "reads the domain 'xx', which has no text; did you mean 'x'"),
    "training on no text": (model("b", parent='"a"', finetune="{}"), "b.finetune.text must be some of x, each once"),
    "a domain twice": (model("b", parent='"a"', finetune='{ text = ["x", "x"] }'), "each once, not"),
    "a weight too many": (model("b", parent='"a"', finetune='{ text = ["x"], weights = [1, 2] }'), "positive weight"),
    "a domain without text": ("[text.y]\n", "text.y.embedded must be the name of a set"),
    "a domain without a path": ('[text.y]\nsource = "files"\n', "text.y.path must be a folder or file"),
    "a domain without a data set": ('[text.y]\nsource = "hub"\n', "text.y.hub must be a data set"),
    "an unknown source": ('[text.y]\nsource = "web"\n', "one of embedded, hub, files, not 'web'"),
    "a color in words": (model("d", parent='"a"', quantized="4", color='"reddish"'), "as in #0072B2, not 'reddish'"),
    "a label of two lines": (model("d", parent='"a"', quantized="4", label='"a\\nb"'), "one line of at most 60"),
    "a path with a NUL": ('[text.y]\nsource = "files"\npath = "a\\u0000b"\n', "cannot be a path"),
    "a path of nobody": (model("d", given='"~no-such-user/b"'), "cannot be a path"),
    "a path beyond all measure": (model("d", given='"' + "a" * 5000 + '"'), "cannot be a path"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_that_cannot_be(tmp_path, kind):
    more, words = SHAPES[kind]
    (tmp_path / "own.toml").write_text(START + more)
    assert re.search(words, refused(lambda: read(tmp_path / "own.toml")))


NAMES = ["a b", "a/b", "../a", "..", ".a", "a..b", "-a", "", "a\nb", "a\n", "a'b", 'a"b', "a🙂", "é", "a\u202eb", "a→b",
         "$a", "ngram", "untrained", "neurons", "both", "neither", "fires", "r_a", "a" * 41]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_could_not_name_files_or_are_words_of_the_tables(tmp_path, name):
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    for section, rest in (("models", 'parent = "a"\nquantized = 4\n'), ("text", 'source = "files"\npath = "x"\n')):
        (tmp_path / "own.toml").write_text(f"{START}[{section}.{quoted}]\n{rest}")
        words = refused(lambda: read(tmp_path / "own.toml"))
        assert words.startswith("The ") and "use up to 40 letters" in words and "label" in words


@pytest.mark.parametrize("name", ["A", "a_b", "pythia-1.4b", "v2", "0", "a" * 40])
def test_other_names_are_fine_and_a_dot_in_one_does_not_hide_its_faults(tmp_path, name):
    (tmp_path / "own.toml").write_text(f'{START}[models."{name}"]\nparent = "a"\nquantized = 4\n')
    assert name in read(tmp_path / "own.toml").names
    (tmp_path / "own.toml").write_text(f'{START}[text."{name}"]\nsource = "web"\n')
    assert f"text.{name}.source must be one of" in refused(lambda: read(tmp_path / "own.toml"))


LAST = "[models.b]\nparent = \"a\"\n"
KEYS = {
    "": ("modells = 3", "own has no setting 'modells'; the nearest it knows is 'models'"),
    "[corpora]": ("vocabulary = 300", "'vocabulary'; the nearest it knows is 'vocab'"),
    "[model]": ("layer = 1", "own.model has no setting 'layer'; the nearest it knows is 'layers'"),
    "[train]": ("token = 3", "own.train has no setting 'token'; the nearest it knows is 'tokens'"),
    "[finetune]": ("batchsize = 3", "own.finetune has no setting 'batchsize'; the nearest it knows is 'batch'"),
    "[sae]": ("widht = 3", "own.sae has no setting 'widht'; the nearest it knows is 'width'"),
    "[evaluation]": ("token = 3", "nearest it knows is 'tokens'"),
    "[merge]": ("point = 3", "nearest it knows is 'points'"),
    "[comparison]": ("zz = 3", "own.comparison has no setting 'zz'; it knows tokens, min_fires"),
    "[controls]": ("kind = 3", "nearest it knows is 'kinds'"),
    "[text.y]": ("pth = 'x'", "own.text.y has no setting 'pth'; the nearest it knows is 'path'"),
    "[text.z]": ("hub = { name = 'a/b', colum = 'c', revision = 'd' }", "own.text.z.hub .* nearest .* 'column'"),
    "[models.b]": ("parnt = 'a'", "own.models.b has no setting 'parnt'; the nearest it knows is 'parent'"),
    "[models.c]": ("finetune = { lrr = 3 }", "own.models.c.finetune .* nearest it knows is 'lr'"),
    "[models.d]": ("checkpoint = { of = 'a', steps = 3 }", "own.models.d.checkpoint .* nearest it knows is 'step'"),
    "[models.e]": ("perturbed = { shares = 0.1 }", "own.models.e.perturbed .* nearest it knows is 'share'"),
    "[models.f]": ("untrained = { sed = 1 }", "own.models.f.untrained .* nearest it knows is 'seed'"),
}


@pytest.mark.parametrize("section", KEYS)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path, section):
    line, words = KEYS[section]
    (tmp_path / "own.toml").write_text("\n".join(['extends = "smoke"', section, line]))
    assert re.search(words, refused(lambda: read(tmp_path / "own.toml")))


@pytest.mark.parametrize("key", ["name", "shipped"])
def test_what_a_file_does_not_state_is_no_setting(tmp_path, key):
    (tmp_path / "own.toml").write_text(f'extends = "smoke"\n{key} = true\n')
    assert f"own has no setting '{key}'" in refused(lambda: read(tmp_path / "own.toml"))


TYPES = {"models = 3": "own.models must be a table, not 3", "models = []": "own.models must be a table",
         "text = 'x'": "own.text must be a table", "sae = 3": "own.sae must be a table of settings, not 3",
         "train = 3": "own.train must be a table of settings", "finetune = ['x']": "must be a table of settings",
         "[models]\na = 3": "own.models.a must be a table of settings", "[text]\nx = 'f'": "own.text.x must be a table",
         "[models.b]\nparent = 3": "own.models.b.parent must be a text, not 3",
         "[models.b]\ngiven = ['x']": "own.models.b.given must be a text",
         "[models.b]\nmerge = 'a'": "own.models.b.merge must be a list, not 'a'",
         "[models.b]\nquantized = 4.5": "quantized must be a whole number, not 4.5",
         "[models.b]\nquantized = true": "quantized must be a whole number, not True",
         "[models.b]\nt = [1]": "own.models.b.t must be a number",
         "[models.b]\nt = nan": "must be a finite number, not nan",
         "[models.b]\nfinetune = 3": "own.models.b.finetune must be a table of settings",
         "[models.b]\nfinetune = { text = 'x' }": "own.models.b.finetune.text must be a list, not 'x'",
         "[models.b]\ncheckpoint = { of = 'a' }": "own.models.b.checkpoint lacks the setting 'step'; add it",
         "[text.x]\nhub = 'a/b'": "own.text.x.hub must be a table of settings",
         "[text.x]\nhub = { name = 'a/b' }": "own.text.x.hub lacks the setting 'column'",
         "[text.x]\npath = ['x']": "own.text.x.path must be a text",
         "[sae]\nlr = '1'": "own.sae.lr must be a number, not '1'", "[sae]\nlr = 1979-05-27": "must be a number",
         "[sae]\nlr = nan": "own.sae.lr must be a finite number", "[train]\nlr = inf": "must be a finite number",
         "[sae]\nwidth = 1" + "0" * 400: "must be a finite number below 2\\*\\*63, not 1000.*\\.\\.\\.",
         "[sae]\nwidth = 1" + "0" * 5000: "is not valid TOML",
         **{f"compare = {pairs}": "own.compare must be a list of pairs of models"
            for pairs in ("'ab'", "['ab']", "[['a']]", "[['a', 'b', 'c']]", "[[1, 2]]", "3")},
         "compare = [['base', 'lau']]": "own.compare names the model 'lau'.* did you mean 'lua'",
         "compare = [['base', 'base']]": "pairs 'base' with itself",
         "[models]\n": "own has no model; name at least one under", "[text]\n": "own has no text; name at least one"}


@pytest.mark.parametrize("line", TYPES)
def test_wrong_types_at_every_level(tmp_path, line):
    (tmp_path / "own.toml").write_text(f'extends = "smoke"\n{line}\n')
    assert re.search(TYPES[line], refused(lambda: read(tmp_path / "own.toml")))


def test_extends_of_what_is_missing_or_no_name_or_in_a_circle(tmp_path):
    def said(extends):
        (tmp_path / "own.toml").write_text(f"extends = {extends}\n")
        return refused(lambda: read(tmp_path / "own.toml"))

    for one in ('"gone"', '"gone.toml"', '"/no/gone.toml"', "5", "true", '["smoke"]', '""', '"a\\u0000.toml"',
                '"~no-such-user/a.toml"', '"' + "a" * 5000 + '.toml"'):
        assert re.match(r"own.toml extends .*, which does not exist; name one of laptop, .* or a .toml file", said(one))
    assert said('"own.toml"') == "own.toml extends own.toml, which extends it in turn; break the circle of extends."
    (tmp_path / "b.toml").write_text('extends = "c.toml"')
    (tmp_path / "c.toml").write_text('extends = "b.toml"')
    assert "c.toml extends b.toml, which extends it in turn" in said('"b.toml"')


@pytest.mark.parametrize("data", [b'extends = "smoke"\n[models.a\n', b"\xff\xfe", b"a = 1\na = 2\n",
                                  b"x = " + b"[" * 4000])
def test_files_that_are_no_toml(tmp_path, data):
    (tmp_path / "own.toml").write_bytes(data)
    assert refused(lambda: read(tmp_path / "own.toml")).startswith("Lineage own.toml is not valid TOML (")


def test_lineages_that_are_not_there_or_cannot_be_read(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    for name in ("desktop", "", "../smoke", str(tmp_path / "gone.toml"), str(tmp_path / "folder.toml"),
                 "a" * 5000 + ".toml"):
        words = refused(lambda name=name: read(name))
        assert "does not exist; choose one of laptop, " in words or "cannot be a path" in words
    (tmp_path / "own.toml").write_text("")
    assert refused(lambda: read(tmp_path / "own.toml")) == "own lacks the setting 'corpora'; add it to the lineage."


SWEEP = "t,domain,loss_nats,accuracy\n0,x,1.0,0.5\n1,x,2,0.25\n"
SWEEPS = {
    "no file": (None, r"cannot be read \(No such file"),
    "other columns": (SWEEP.replace("loss_nats", "loss"), "has the columns 't,domain,loss,accuracy'"),
    "another order": (SWEEP.replace("t,domain", "domain,t"), "has the columns 'domain,t,"),
    "nothing": ("", "has the columns ''"),
    "a word": (SWEEP.replace("0.25", "much"), "has a line 3 in which t or accuracy is no share"),
    "a field too few": (SWEEP.replace(",0.25", ""), "has a line 3"),
    "a field too many": (SWEEP.replace("0.25", "0.25,9"), "has a line 3"),
    "accuracy in per cent": (SWEEP.replace("0.5", "50"), "has a line 2"),
    "no accuracy": (SWEEP.replace("0.25", "nan"), "has a line 3"),
    "no loss": (SWEEP.replace("1.0", "inf"), "has a line 2"),
    "t beyond 1": (SWEEP.replace("\n1,", "\n1.5,"), "has a line 3"),
    "one end": (SWEEP.replace("\n1,", "\n0.9,"), "has not both ends, and every t once, for the domain 'x'"),
    "a t twice": (SWEEP + "1,x,2,0.25\n", "has not both ends, and every t once"),
    "another domain": (SWEEP.replace("x", "y"), "has not both ends, and every t once, for the domain 'x'"),
    "bytes": (b"\xff\xfe\x00", "is no CSV"),
}


@pytest.mark.parametrize("kind", SWEEPS)
def test_a_published_sweep_that_cannot_stand_beside_the_runs_own(tmp_path, kind):
    content, words = SWEEPS[kind]
    if content is not None:
        (tmp_path / "s.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "own.toml").write_text(START + B + model("d", merge='["a", "b"]', published_sweep='"s.csv"'))
    said = refused(lambda: read(tmp_path / "own.toml"))
    assert re.match(r"own\.models\.d\.published_sweep: s\.csv " + words, said)
    assert "give a CSV with the columns t,domain,loss_nats,accuracy and rows from t = 0 to 1" in said
    (tmp_path / "s.csv").write_text(SWEEP)
    assert read(tmp_path / "own.toml").models["d"].published_sweep == str(tmp_path / "s.csv")


def test_a_published_sweep_with_other_t_for_one_domain(tmp_path):
    rows = SWEEP + SWEEP.replace("x", "y").partition("\n")[2]
    more = """[text.y]\nsource = "files"\npath = "y.txt"\n""" + model("b", train='{ text = ["y"] }') + model(
        "d", merge='["a", "b"]', published_sweep='"s.csv"')
    (tmp_path / "own.toml").write_text(START + more)
    (tmp_path / "s.csv").write_text(rows)
    assert read(tmp_path / "own.toml").models["d"].published_sweep
    (tmp_path / "s.csv").write_text(rows + "0.5,y,1,0.5\n")
    assert "has other t for 'y' than for 'x'" in refused(lambda: read(tmp_path / "own.toml"))


def test_text_that_is_not_there(tmp_path):
    from unifeat.text import sources

    (tmp_path / "own.toml").write_text(START)
    p = read(tmp_path / "own.toml")
    words = refused(lambda: sources.fingerprint(p.text, p.corpora))
    assert words == f"The text of the domain x, {tmp_path / 'x.txt'}, does not exist; correct its path."
    (tmp_path / "own.toml").write_text(START.replace('source = "files"', 'embedded = "klingon"'))
    p = read(tmp_path / "own.toml")
    words = refused(lambda: sources.fingerprint(p.text, p.corpora))
    assert words.startswith("The domain x asks for the embedded text 'klingon'; choose one of")


@pytest.mark.parametrize("models", ["a", "a=", "=f", "a=f,b", "a=f,a=g", "b:a=f", "a=f,b:c=g", ",", "a:a=f"])
def test_models_in_other_forms(tmp_path, models):
    words = refused(lambda: choose("smoke", models=models))
    assert "name=folder" in words or "does not exist" in words or "use up to 40 letters" in words


@pytest.mark.parametrize("name", ["a b", "../a", "ngram", "a🙂", "a'"])
def test_names_in_models_are_held_to_the_same_rule(name):
    assert "use up to 40 letters" in refused(lambda: choose("smoke", models=f"{name}=folder"))


def test_corpora_that_are_no_folder_of_text(tmp_path):
    words = refused(lambda: choose("smoke", "web"))
    assert "is neither a source nor a folder; give one of embedded, hub, files" in words
    assert "holds no text; give a folder" in refused(lambda: choose("smoke", str(tmp_path), models="a=f"))
    (tmp_path / "a b.txt").write_text("x")
    assert "The domain name 'a b'" in refused(lambda: choose("smoke", str(tmp_path), models="a=f"))


def test_every_refusal_of_a_lineage_is_of_one_kind(tmp_path):
    (tmp_path / "own.toml").write_text("extends = 5")
    with pytest.raises(LineageError):
        read(tmp_path / "own.toml")
