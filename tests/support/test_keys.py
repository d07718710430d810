"""The key of every stage sees all code that makes it, and nothing else.

A tiny run asks for every stage that there is. Then lines are changed in a copy of the package, and keys computed again.
"""

import ast
import os
import shutil
from pathlib import Path

import networks
import pytest
import stage_log
import tiny
from stage_log import PACKAGE, asking, changed

from unifeat.lineage import demo
from unifeat.lineage.run import open_run
from unifeat.support import code

ASKING = asking()
MACHINERY = ("support/",)  # changes no number
SETTINGS = tuple(f"{name.removeprefix('unifeat.').replace('.', '/')}.py" for name in code.PLAIN)  # keys have the values


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Every stage of the paper's lineage, of given models, of the demonstration and of a track, made once."""
    from unifeat.autointerp import explain
    from unifeat.explorer import collect
    from unifeat.studies import (
        ancestry,
        axes,
        checkpoints,
        dose,
        life_histories,
        merge_search,
        merge_shapes,
        persistence,
        value_differences,
        value_features,
        value_networks,
        weight_matching,
    )
    from unifeat.track import inputs, saes
    from unifeat.track import text as track_text

    root = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch, stage_log.Log() as log:
        patch.setenv("UNIFEAT_STORE", str(root / "store"))
        text = tiny.text(root / "text")
        run = open_run(str(tiny.lineage(root / "tiny.toml", folder=text)))
        checkpoints.along(run).model_stage("base-8")  # before its training passes by and keeps the others
        run.train_models()
        run.losses("ngram", *run.lineage.names)
        run.train_saes()
        persistence.prepare(run)
        weight_matching.prepare(run)
        axes.of_neurons(run).sae_stage("base")
        dose.prepare(run)
        dose.doses(run)
        dose.zero(run)
        ancestry.prepare(run)
        ancestry.ancestry(run)
        merge_search.searches(run)
        merge_search.rates(run)
        merge_shapes.shapes(run)
        checkpoints.prepare(run)
        life_histories.prepare(run)
        value_networks.prepare(run)
        value_networks.table(run)
        value_differences.differences(run)
        value_features.prepare(run)
        value_features.swaps(run)
        explain.explained(run)
        collect.data(run)
        given = tiny.lineage(root / "given.toml", networks.local(networks.released(root / "hub")), text)
        open_run(str(given)).merge_t("merged")
        demo.make(str(root / "tiny.toml"))
        two = [inputs.thing(str(run.sae_stage("base").folder / f"seed{seed}"), "A") for seed in run.lineage.sae.seeds]
        texts = track_text.gather(str(text), run.root, 400_000)
        saes.track(*two, texts, (str(run.model_folder("base")),) * 2, quick=True)
    return log


class Copy:
    """A copy of the package in which lines can be changed; keys are computed from it."""

    def __init__(self, folder: Path):
        self.folder, self.file, self.clock = folder, code._file, 0
        shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def __call__(self, name: str) -> Path | None:
        path = self.file(name)
        return self.folder / path.relative_to(PACKAGE) if path and path.is_relative_to(PACKAGE) else path

    def read(self, name: str) -> str:
        return (PACKAGE / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        self.clock += 1
        (self.folder / name).write_text(text, encoding="utf-8")
        os.utime(self.folder / name, ns=(self.clock, self.clock))  # no two states of a file look alike

    def key(self, stage, name: str, text: str) -> str:
        """The stage's code as hashed where the module `name` reads `text`."""
        self.write(name, text)
        found = code.version(*stage.builders)
        self.write(name, self.read(name))
        return found


@pytest.fixture
def copy(tmp_path, monkeypatch):
    found = Copy(tmp_path / "unifeat")
    monkeypatch.setattr(code, "_file", found)
    return found


def module(ran) -> str:
    return Path(ran.co_filename).relative_to(PACKAGE).as_posix()


def asked_at(log, at) -> list:
    name, lines = at
    return [stage for stage in log.stages.values() if stage.at[0] == name and stage.at[1] in lines]


@pytest.mark.parametrize("asking", [name for name in ASKING if not name.startswith("support/stages.py")])
def test_a_change_of_the_builder_or_of_anything_it_runs_moves_the_key(log, copy, asking):
    stages = asked_at(log, ASKING[asking])
    assert stages, "no stage of this line is made in these tests: add it to the fixture `log`"
    for stage in stages:
        before, others = code.version(*stage.builders), set()
        for builder in stage.builders:
            name = module(builder.__code__)
            assert copy.key(stage, name, changed(copy.read(name), builder.__code__)) != before, "its own builder"
        for ran in sorted(stage.ran, key=lambda ran: (ran.co_filename, ran.co_firstlineno)):
            name = module(ran)
            if name.startswith(MACHINERY) or name in (*SETTINGS, *others) or ran.co_name.startswith("<"):
                continue
            others.add(name)
            assert copy.key(stage, name, changed(copy.read(name), ran)) != before, f"{ran.co_name} in {name}"
        assert others - {stage.at[0]}, "it runs nothing of another module"
        assert code.version(*stage.builders) == before  # the copy is whole again


def test_what_runs_outside_the_rooms_of_the_science_is_machinery_or_settings(log):
    rooms = tuple(f"{room.removeprefix('unifeat.').replace('.', '/')}" for room in code.ROOMS)
    for stage in log.stages.values():
        own = tuple(f"{module(builder.__code__).partition('/')[0]}/" for builder in stage.builders)
        for name in map(module, stage.ran):
            assert name.startswith((*rooms, *own, *MACHINERY)) or name in SETTINGS, (stage.kinds, name)


def commented(text: str) -> str:
    return f"# A comment.\n{text}\n\n# Another one.\n"


def documented(text: str) -> str:
    """Every docstring said in other words."""
    tree = ast.parse(text)
    for node in sorted((node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
                        and ast.get_docstring(node)), key=lambda node: -node.body[0].lineno):
        text = stage_log.replaced(text, node.body[0], lambda old: '"""Other words."""')
    return text


def importing(text: str) -> str:
    return f"{text}\n\nimport statistics  # noqa\nfrom string import capwords  # noqa\n"


@pytest.mark.parametrize("how", [commented, documented, importing])
def test_comments_docstrings_and_import_lines_move_no_key(log, copy, how):
    before = {at: code.version(*stage.builders) for at, stage in log.stages.items()}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        copy.write(name, how(copy.read(name)))
    assert before == {at: code.version(*stage.builders) for at, stage in log.stages.items()}


@pytest.mark.parametrize("room", ["plots", "pipeline", "support", "explorer"])
def test_figures_pages_and_machinery_move_no_key_of_another_room(log, copy, room):
    stages = [stage for stage in log.stages.values() if not stage.at[0].startswith(room)]
    before = [code.version(*stage.builders) for stage in stages]
    for path in (PACKAGE / room).glob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        copy.write(name, f"{copy.read(name)}\n\nADDED = 1\n")
    assert before == [code.version(*stage.builders) for stage in stages]


@pytest.mark.parametrize("name, old, new, kinds", [
    ("autointerp/groups.py", "rules.learn(f[learning]", "rules.learn(f[~learning]", ["lexical-"]),
    ("lineage/texts.py", "np.linspace(0, len(blocks) - 1, n)", "np.arange(n)",
     ["model-", "saes-", "sae-metrics-", "losses-", "sweep-", "swap"]),
])
def test_holes_that_the_first_edition_had_are_closed(log, copy, name, old, new, kinds):
    text = copy.read(name)
    assert text.count(old) == 1
    for kind in kinds:
        stages = [stage for stage in log.stages.values() if any(one.startswith(kind) for one in stage.kinds)]
        other = text.replace(old, new)
        assert stages and all(copy.key(one, name, other) != code.version(*one.builders) for one in stages)
