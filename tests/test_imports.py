"""The rooms of the package: who imports whom, no name of the paper's models in code, nothing too long."""

import ast
import graphlib
from pathlib import Path

import pytest

import unifeat
from unifeat.lineage import read

PACKAGE = Path(unifeat.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
         for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in FILES.items()}

SCIENCE = {"lm", "sae", "merging", "matching", "decoding", "text"}
MAY = {  # what each room may import, beside itself; one way only
    "support": set(),
    "lm": {"support"}, "text": {"support"}, "matching": {"support"}, "decoding": {"lm", "support"},
    "sae": {"lm", "support"}, "merging": {"lm", "support"},
    "lineage": {*SCIENCE, "support"},
    "studies": {"lineage", *SCIENCE, "support"},
    "autointerp": {"studies", "lineage", *SCIENCE, "support"},
    "plots": {"support"},
    "explorer": {"autointerp", "studies", "lineage", *SCIENCE, "support"},
    "track": {"studies", "lineage", *SCIENCE, "support"},
}
MAY["pipeline"] = set(MAY)
MAY["__main__.py"] = {"pipeline", "track", "support"}
MAY["__init__.py"] = {"explorer"}

NAMES = {name for p in map(read, ("laptop", "released")) for name in (*p.names, *p.domains)}
EXCEPTIONS = {  # where such a word is not the name of a model or domain
    # the programming languages
    "python": {"text/corpora.py", "text/sources.py", "text/files.py", "pipeline/clean_notebooks.py"},
    "lua": {"text/corpora.py", "text/files.py"},
    "base": {"lineage/models.py", "plots/merges.py", "pipeline/results.py"},  # above both parents, in merge_sweep.csv
    "merged": {"matching/planted.py"},  # a planted feature that is the sum of two
}


def imported(name: str) -> list[str]:
    """Modules of ours that a file imports, as paths in the package; within functions too."""
    found = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively, which keys do not follow (see support/code.py)"
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = [one.replace(".", "/").removeprefix("unifeat/") for one in found if one.startswith("unifeat.")]
    return [file for path in paths for file in (f"{path}.py", f"{path}/__init__.py") if file in FILES]


def room(name: str) -> str:
    return name.partition("/")[0]


@pytest.mark.parametrize("one", sorted({room(name) for name in FILES}))
def test_a_room_imports_only_what_it_may(one):
    assert one in MAY, f"say in MAY what the room {one} may import"
    for name in FILES:
        if room(name) == one:
            wrong = {room(other) for other in imported(name)} - MAY[one] - {one}
            assert not wrong, f"{name} imports {', '.join(sorted(wrong))}"


def test_the_rooms_have_no_circle():
    graphlib.TopologicalSorter({one: MAY[one] - {one} for one in MAY}).prepare()
    found = {one: {room(other) for name in FILES if room(name) == one for other in imported(name)} for one in MAY}
    graphlib.TopologicalSorter({one: others - {one} for one, others in found.items()}).prepare()


def test_the_modules_of_a_room_have_no_circle():
    """But for a room's front page, which names what is in it."""
    graphlib.TopologicalSorter({name: {other for other in imported(name) if not other.endswith("__init__.py")} - {name}
                                for name in FILES if not name.endswith("__init__.py")}).prepare()


def test_no_module_names_a_model_or_domain_of_the_paper():
    found = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES:
                found.setdefault(node.value, set()).add(name)
    extra = {word: files - EXCEPTIONS.get(word, set()) for word, files in found.items()}
    assert not {word: sorted(files) for word, files in extra.items() if files}


@pytest.mark.parametrize("name", FILES)
def test_files_have_at_most_300_lines_and_functions_60(name):
    assert FILES[name].count("\n") <= 300
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
