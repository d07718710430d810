"""Which code is in a key: the builder's module and what it imports from the rooms of the science, prose left out."""

import ast
import gc
import importlib
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import unifeat
from unifeat import merging
from unifeat.lm import ngram
from unifeat.support import code, store

BUILDER = """from made.science import sums
from made.plots import draw

def build(folder):
    return sums.total(folder)
"""
SUMS = '''"""Sums."""
import math
from made.science.deep.lower import one  # used below

def total(x):
    """The sum."""
    from made.science import late
    return late.two(one(x))
'''
FILES = {"__init__.py": "", "science/__init__.py": "", "science/builder.py": BUILDER, "science/sums.py": SUMS,
         "science/late.py": "def two(x):\n    return 2\n", "science/deep/__init__.py": "",
         "science/deep/lower.py": "def one(x):\n    return 1\n", "science/unused.py": "x = 1\n",
         "plots/__init__.py": "", "plots/draw.py": "x = 1\n"}
MUTATIONS = {
    "the builder": ("science/builder.py", ("sums.total(folder)", "sums.total(0)"), True),
    "what it imports": ("science/sums.py", ("late.two(one(x))", "late.two(x)"), True),
    "what that imports": ("science/deep/lower.py", ("return 1", "return 2"), True),
    "what that imports within a function": ("science/late.py", ("return 2", "return 3"), True),
    "the front page of a room": ("science/__init__.py", ("", "x = 1\n"), True),
    "a comment": ("science/sums.py", ("# used below", "# other words"), False),
    "a docstring": ("science/sums.py", ('"""The sum."""', '"""Another sentence."""'), False),
    "a docstring taken out": ("science/sums.py", ('"""Sums."""\n', ""), False),
    "an import line": ("science/sums.py", ("import math\n", "import math\nimport cmath\n"), False),
    "blank lines": ("science/late.py", ("\n", "\n\n"), False),
    "a module that nothing imports": ("science/unused.py", ("x = 1", "x = 2"), False),
    "a plot": ("plots/draw.py", ("x = 1", "x = 2"), False),
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A package with a room of science and one of plots; its folder."""
    for name, text in FILES.items():
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "ROOMS", ("made.science.",))
    code._file.cache_clear()
    yield tmp_path / "made"
    code._file.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]


@pytest.mark.parametrize("what", MUTATIONS)
def test_what_moves_a_key_and_what_does_not(made, what):
    name, change, moves = MUTATIONS[what]
    builder = importlib.import_module("made.science.builder").build
    before = code.version(builder)
    path = made / name
    path.write_text(path.read_text().replace(*change, 1))
    assert path.read_text() != FILES[name] and (code.version(builder) != before) == moves


def test_functions_may_be_named_beside_the_builder(made):
    builder = importlib.import_module("made.science.builder").build
    other = lambda: None  # noqa: E731 - as the runs have them
    other.__module__ = "made.science.unused"
    assert code.version(builder) != code.version(builder, other) == code.version(other, builder)
    (made / "science" / "unused.py").write_text("x = 2\n")
    assert code.version(builder, other) != code.version(other)


def test_of_the_packages_own_rooms():
    assert code.version(merging.slerp) != code.version(ngram.evaluate)
    assert code.version(merging.slerp) == code.version(merging.lerp)  # one module


def test_no_code_depends_on_the_plain_twins():
    """They are for reading; nothing that computes a result, and so no key, is to move with them."""
    plain = {"unifeat.lm.plain", "unifeat.sae.plain", "unifeat.matching.plain"}
    for path in Path(unifeat.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not plain & {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}, path


@pytest.fixture
def switches():
    """Threads that take turns in the middle of what C code makes, as any garbage with a finalizer may have it."""
    def turn(phase, info):
        time.sleep(0)

    gc.callbacks.append(turn)
    yield
    gc.callbacks.remove(turn)


def test_versions_are_found_by_threads_at_once(switches):
    def work(_):
        code._parsed.cache_clear()
        return code.version(merging.slerp, ngram.evaluate, store.make)

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(work, range(20)))) == 1


def test_a_library_that_parses_at_the_same_moment_does_no_harm(monkeypatch):
    parse, asked = ast.parse, []

    def disturbed(text):
        asked.append(text)
        if len(asked) % 2:
            raise SystemError("AST constructor recursion depth mismatch (before=36, after=66)")
        return parse(text)

    wanted = code.version(merging.slerp)
    code._parsed.cache_clear()
    monkeypatch.setattr(code, "ast", types.SimpleNamespace(**{**vars(ast), "parse": disturbed}))
    assert code.version(merging.slerp) == wanted and len(asked) == 2
