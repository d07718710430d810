"""Upkeep of the store: what no run asked for is removed, what is damaged is named."""

import os

import pytest

from unifeat.support import locks, maintenance, store


def build_text(folder):
    (folder / "a.txt").write_text("hello")


def run(root, name, *configs, whole=True):
    """A run called `name` that asks for an artefact per configuration."""
    with maintenance.asking(root, name) as left_out:
        left_out += [] if whole else ["an earlier notebook"]
        return [store.make(root, "s", build_text, config=config) for config in configs]


def unused(root):
    return [path.name for path in maintenance.unused(root)]


def test_gc_lists_what_the_last_run_of_each_name_did_not_ask_for(tmp_path, capsys):
    root, names = tmp_path / "store", {}
    alone = store.make(root, "s", build_text, config="alone").folder.name
    assert unused(root) == []  # no run has finished yet: nothing is known
    for name, configs in (("figures-laptop", "ab"), ("figures-smoke", "c"), ("figures-laptop", "bd")):
        names |= {config: made.folder.name for config, made in zip(configs, run(root, name, *configs), strict=True)}
    assert unused(root) == sorted([alone, names["a"]])
    run(root, "figures-laptop", "b", whole=False)  # FROM=08, or a notebook that had not changed
    assert unused(root) == sorted([alone, names["a"]])
    with pytest.raises(RuntimeError), maintenance.asking(root, "figures-laptop"):
        store.make(root, "s", build_text, config="a")
        raise RuntimeError  # killed or failed: what it asked for may be asked for again
    assert unused(root) == [alone] and "UNIFEAT_ASKED" not in os.environ
    assert maintenance.gc(root) == 0 and (root / alone).is_dir()
    assert maintenance.gc(root, apply=True) == 0 and not (root / alone).exists()
    out = capsys.readouterr().out
    assert out.count(alone) == 2 and "unused; make gc APPLY=1 removes them" in out and out.endswith("removed.\n")
    run(root, "figures-laptop", "b", "d")
    assert unused(root) == [names["a"]] and not store.faults(root)


def test_gc_removes_old_work_folders_but_none_that_is_in_use_or_asked_for(tmp_path, capsys):
    def build(folder):
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "state").write_text("x" * 10**6)
        raise RuntimeError

    with pytest.raises(RuntimeError), maintenance.asking(tmp_path, "figures-smoke"):
        store.make(tmp_path, "kept", build)
    for stage in ("old", "busy"):
        with pytest.raises(RuntimeError):
            store.make(tmp_path, stage, build)
    (tmp_path / ".older-0123456789abcdef-rosq2034").mkdir()  # as they were named before there were checkpoints
    [busy] = tmp_path.glob(".busy-*")
    with locks.locked(tmp_path, busy.name[1:]):
        maintenance.gc(tmp_path, apply=True)
    assert sorted(path.name.split("-")[0] for path in tmp_path.glob(".[!lr]*")) == [".busy", ".kept"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "(in use, kept)" in lines[0] and lines[1].split()[:2] == ["1.0", "MB"]


def test_verify_names_the_damaged_and_fails(tmp_path, capsys):
    good, bad = (store.make(tmp_path, "s", build_text, config=config) for config in "ab")
    assert maintenance.verify(tmp_path) == 0 and "All 2 artefacts (0.0 MB)" in capsys.readouterr().out
    (bad.folder / "a.txt").write_text("hellp")
    assert maintenance.verify(tmp_path) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{bad.folder.name}: a.txt has other content than was written"
    assert last.startswith("1 of 2 artefacts") and last.endswith("the next run computes them again.")
