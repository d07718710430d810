"""Stages: computed once, found again, counted on a bar that skips what is stored."""

import dataclasses
import importlib
import io

import pytest

from unifeat.support import parallel
from unifeat.support.stages import Stages


@dataclasses.dataclass(frozen=True, eq=False)
class Counted(Stages):
    """Stages that note what they compute."""

    computed: list = dataclasses.field(default_factory=list)

    def compute(self, name, build, folder):
        self.computed.append(name)
        super().compute(name, build, folder)


def build(folder):
    (folder / "a.txt").write_text("x")


def test_a_stage_is_computed_once_for_its_config_inputs_and_code(tmp_path):
    run = Counted(None, tmp_path, tmp_path)
    first = run.stage("s", build, dict(a=1))
    again = Counted(None, tmp_path, tmp_path)
    assert again.stage("s", build, dict(a=1)) == first and not again.computed and run.computed == ["s"]
    assert again.seconds == run.seconds == {"s": first.seconds}, "what it cost, whoever made it"
    other = importlib.import_module("unifeat.lm.ngram").evaluate  # an import line would put it in the key of `build`
    others = [again.stage("s", build, dict(a=2)), again.stage("t", build, dict(a=1)),
              again.stage("s", build, dict(a=1), [first]), again.stage("s", build, dict(a=1), code_of=[other])]
    assert len({first.key, *(one.key for one in others)}) == 5 and again.computed == ["s", "t", "s", "s"]


def test_a_bar_skips_what_is_stored_and_is_advanced_by_what_is_built(tmp_path):
    run = Counted(None, tmp_path, tmp_path)
    with parallel.Bar(total=20, file=io.StringIO()) as bar:
        run.stage("s", lambda folder: (build(folder), bar.update(10)), bar=bar, tokens=10)
        assert (bar.n, bar.initial) == (10, 0)
        run.stage("s", lambda folder: (build(folder), bar.update(10)), bar=bar, tokens=10)
        assert (bar.n, bar.initial) == (20, 10)


def test_a_failed_stage_is_no_result(tmp_path):
    def fail(folder):
        raise ZeroDivisionError

    run = Counted(None, tmp_path, tmp_path)
    with pytest.raises(ZeroDivisionError):
        run.stage("s", fail)
    assert not run.seconds and (run.stage("s", build).folder / "a.txt").is_file()
