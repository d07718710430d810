"""Random lineages: each is taken, or refused in one sentence; never another error."""

import json
import re

from fuzzing import CASES, attempt, fuzz
from hypothesis import given
from hypothesis import strategies as st

from unifeat.lineage import choose, read, reading

TOML = "\n".join(re.sub("(?m)^extends = .*$", "", (reading.FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
                 for name in (reading.FRAGMENT, "smoke"))
LINES = [number for number, line in enumerate(TOML.splitlines()) if line.strip() and not line.startswith("#")]
VALUES = st.one_of(
    st.integers(), st.sampled_from([0, 1, -1, 2**31, 2**63, 10**400, "inf", "nan", "-nan", "-0.0", "1e308", "1e-320"]),
    st.floats(), st.booleans().map(lambda value: str(value).lower()), st.sampled_from(["[]", "{}", "[[]]", "[nan]"]),
    st.sampled_from(["1979-05-27", "07:32:00", "'''x'''", "[1, 'a']", "{a = {b = []}}", "[" * 3000 + "]" * 3000]),
    st.lists(st.integers(-5, 5), max_size=3), st.text(max_size=20).map(json.dumps), st.text(max_size=30))


def sound(p) -> None:
    """What is true of every lineage that is taken."""
    assert p.sae.k <= p.sae.width and 0 < p.comparison.tau <= 1 and p.roots
    assert sorted(name for layer in p.layers for name in layer) == sorted(p.names) == sorted(p.theme.models)
    layer = {name: number for number, names in enumerate(p.layers) for name in names}
    for parent, child in p.edges:
        assert parent != child and (layer[parent] < layer[child] or p.models[parent].checkpoint)
    assert set(p.edges) <= set(p.pairs) and all(set(p.mix(name)[0]) <= set(p.domains) for name in p.names)


@fuzz(150)
@given(st.lists(st.tuples(st.sampled_from(LINES), VALUES, st.sampled_from(["value", "key", "line", "drop", "more"])),
                min_size=1, max_size=3))
def test_lineage_files(tmp_path, changes):
    lines = TOML.splitlines()
    for number, value, how in changes:
        key, _, _ = lines[number].partition(" = ")
        lines[number] = {"value": f"{key} = {value}", "key": f"{value} = 1", "line": str(value), "drop": "",
                         "more": f"{lines[number]}\nmore = {value}"}[how]
    path = tmp_path / "own.toml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    found = attempt("lineage files", lambda: read(path), line=True)
    if found:
        sound(found)


@fuzz(40)
@given(st.binary(max_size=200))
def test_lineage_files_of_random_bytes(tmp_path, data):
    (tmp_path / "own.toml").write_bytes(data)
    assert attempt("lineage bytes", lambda: read(tmp_path / "own.toml"), line=True) is None


NAMED = st.sampled_from(["a", "a", "b", "c", "v1.0"])  # mostly fine, and often of another model
ODD = ["", "a b", "../a", "ngram", "é", "a🙂", 'a"b', "zebra"]
ANY = st.sampled_from(["a", "b", "c", "v1.0"] * 20 + ODD)
COMPARE = st.sampled_from([[]] * 20 + [[["a", "b"]], [["b", "c"], ["a", "b"]], [["a"]], [["a", "a"]], [["a", "zebra"]],
                                       ["ab"]])
TRAINED = st.one_of(st.sampled_from([dict(text=["x"]), dict(text=["y"]), dict(text=["x", "y"], weights=[1, 0.5])]),
                    st.fixed_dictionaries({}, optional=dict(
                        text=st.lists(st.sampled_from("xyz"), max_size=2), tokens=st.sampled_from([60_000, 10, 0]),
                        weights=st.lists(st.sampled_from([1, 0, -1]), max_size=2), seed=st.sampled_from([0, -1]))))
MADE = st.one_of(
    st.builds(lambda one: dict(train=one), TRAINED),
    st.builds(lambda name, one: dict(parent=name, finetune=one), NAMED, TRAINED),
    st.builds(lambda names: dict(merge=names), st.lists(NAMED, min_size=1, max_size=3)),
    st.builds(lambda name, step: dict(checkpoint=dict(of=name, step=step)), NAMED, st.sampled_from([0, 1, 10**6])),
    st.builds(lambda name, bits: dict(parent=name, quantized=bits), NAMED, st.sampled_from([4, 8, 1, 20])),
    st.builds(lambda name, how: dict(parent=name, perturbed=how), NAMED,
              st.sampled_from([dict(share=0.1), dict(like="b"), dict(like="c"), {}, dict(share=-1.0)])),
    st.sampled_from([dict(given="owner/name"), dict(untrained=dict(seed=1)), dict(untrained=dict(seed=-1)), {}]))
MORE = st.one_of(st.just({}), st.just({}), st.fixed_dictionaries({}, optional=dict(
    parent=NAMED, text=st.lists(st.sampled_from("xyz"), max_size=2), label=st.text("aé🙂\n$", max_size=5),
    parents=st.lists(NAMED, max_size=3), color=st.sampled_from(["#123456", "red", ""]),
    t=st.sampled_from(["balanced", 0.5, 2, "x"]), method=st.sampled_from(["slerp", "lerp", "ties"]))))
MODELS = st.lists(st.tuples(ANY, MADE, MORE), max_size=4)


def toml(value) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


@fuzz(150)
@given(MODELS, COMPARE)
def test_lineages_of_any_shape(tmp_path, models, compare):
    lines = ['extends = "smoke"', f"compare = {json.dumps(compare)}"]
    lines += [f'[text.{name}]\nsource = "files"\npath = "x"' for name in "xy"] + ["[models]"]
    members = {"a": dict(train=dict(text=["x"])), "b": dict(parent="a", finetune=dict(text=["y"])),
               "c": dict(parent="a", quantized=4)} | {name: made | more for name, made, more in models}
    lines += [f"{toml(name)} = {toml(one)}" for name, one in members.items()]
    (tmp_path / "own.toml").write_text("\n".join(lines), encoding="utf-8")
    found = attempt("lineages", lambda: read(tmp_path / "own.toml"), line=True)
    if found:
        CASES["of them taken"] += 1
        sound(found)


@fuzz(50)
@given(st.lists(st.tuples(
    ANY, st.sampled_from(["", ":a", ":b", ":"]), st.sampled_from(["=", "", "=="]),
    st.sampled_from(["folder", "", "~/x", "\0", "~nobody-here/x", "a" * 5000])), max_size=3))
def test_models_in_one_line(items):
    text = ",".join("".join(item) for item in items)
    found = attempt("models in one line", lambda: choose("smoke", models=text or ","), line=True)
    if found:
        sound(found)
