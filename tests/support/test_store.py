"""The store: results found again, damage named and mended, a disk that fails."""

import errno
import json
import os
from pathlib import Path

import pytest

from unifeat.support import locks, store


def build_text(text="hello"):
    return lambda folder: (folder / "a.txt").write_text(text)


def test_found_again_and_keyed_by_config_inputs_and_code(tmp_path):
    calls = []

    def build(folder):
        calls.append(1)
        (folder / "a.txt").write_text("x")

    first = store.make(tmp_path, "s", build, config={"a": 1})
    assert store.make(tmp_path, "s", build, config={"a": 1}) == first and len(calls) == 1
    others = [store.make(tmp_path, "s", build, config={"a": 2}),
              store.make(tmp_path, "s", build, config={"a": 1}, code="2"),
              store.make(tmp_path, "s", build, config={"a": 1}, inputs=[first])]
    assert len({first.key, *(one.key for one in others)}) == 4 and len(calls) == 4


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("shorter or longer than before")])
def test_a_damaged_artefact_is_named_and_rebuilt(tmp_path, damage, capsys):
    made = store.make(tmp_path, "s", build_text())
    damage(made.folder / "a.txt")
    assert store.load(made.folder) is None and list(store.faults(tmp_path)) == [made.folder.name]
    assert (store.make(tmp_path, "s", build_text()).folder / "a.txt").read_text() == "hello"
    assert not store.faults(tmp_path)
    error = capsys.readouterr().err
    assert error.startswith(f"{made.folder.name} in the store cannot be used (a.txt ") and error.count("\n") == 1


def test_a_flipped_bit_is_found_by_verify(tmp_path):
    made = store.make(tmp_path, "s", build_text())
    (made.folder / "a.txt").write_text("hellp")
    assert list(store.faults(tmp_path)) == [made.folder.name]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"a.txt": {}}}', "\xff", "[" * 10**5,
                                  '{"stage": "s", "key": "KEY", "seconds": 1, "files": {"NAME": {"bytes": 1}}}'])
def test_a_foreign_manifest_is_not_trusted(tmp_path, text):
    made = store.make(tmp_path, "s", build_text())
    (made.folder / store.MANIFEST).write_text(text.replace("KEY", made.key).replace("NAME", "x" * 5000))
    assert store.load(made.folder) is None
    assert store.make(tmp_path, "s", build_text()) and not store.faults(tmp_path)


def test_an_artefact_under_the_name_of_another_is_not_taken_for_it(tmp_path, capsys):
    one, other = (store.make(tmp_path, "s", build_text(text), config=text) for text in ("one", "other"))
    locks.remove(one.folder)
    other.folder.rename(one.folder)
    assert (store.make(tmp_path, "s", build_text("one"), config="one").folder / "a.txt").read_text() == "one"
    assert "(its manifest is of another artefact)" in capsys.readouterr().err


@pytest.mark.parametrize("place", [lambda path: path.write_text("a file"), lambda path: path.symlink_to("nowhere"),
                                   lambda path: path.mkdir()])
def test_something_else_under_a_final_or_work_name_is_replaced(tmp_path, place):
    made = store.make(tmp_path, "s", build_text())
    locks.remove(made.folder)
    place(made.folder)
    place(tmp_path / f".{made.folder.name}")
    assert store.make(tmp_path, "s", build_text()) and not store.faults(tmp_path)


def test_a_file_added_to_an_artefact_is_found_by_verify_and_other_folders_are_not_looked_at(tmp_path):
    made = store.make(tmp_path, "s", build_text())
    (tmp_path / "llm").mkdir()
    assert not store.faults(tmp_path)
    (made.folder / "b.txt").write_text("x")
    assert list(store.faults(tmp_path)) == [made.folder.name]
    assert store.fault(made.folder, full=True) == "b.txt was added to it" and store.load(made.folder) == made


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError(errno.ENOSPC, "")])
def test_only_the_checkpoint_outlives_a_build_and_it_is_no_part_of_the_artefact(tmp_path, error):
    seen = []

    def build(folder):
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / "half.txt").write_text("half")
        (folder / "checkpoint").mkdir(exist_ok=True)
        (folder / "checkpoint" / "state.txt").write_text(str(len(seen)))
        if len(seen) < 3:
            raise error

    for _ in range(2):
        with pytest.raises((store.StoreError, RuntimeError, KeyboardInterrupt)):
            store.make(tmp_path, "s", build)
        [work] = tmp_path.glob(".s-*")
        assert [path.relative_to(work).as_posix() for path in work.rglob("*")] == ["checkpoint", "checkpoint/state.txt"]
    made = store.make(tmp_path, "s", build)
    assert seen == [[], ["checkpoint"], ["checkpoint"]] and not list(tmp_path.glob(".s-*"))
    assert sorted(path.name for path in made.folder.iterdir()) == ["half.txt", "manifest.json"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, ""),
                                   RuntimeError("I/O error: No space left on device (os error 28)"),
                                   OSError("1000 requested and 0 written")])
def test_a_full_disk_is_one_sentence_and_the_store_stays_whole(tmp_path, error):
    def full(folder):
        (folder / "half.txt").write_text("half")
        raise error

    store.make(tmp_path, "other", build_text())
    with pytest.raises(store.StoreError, match="free some space or permission"):
        store.make(tmp_path, "s", full)
    assert not store.faults(tmp_path) and not list(tmp_path.glob("s-*"))


def test_other_errors_of_a_build_are_not_blamed_on_the_disk(tmp_path):
    def missing(folder):
        raise FileNotFoundError("input.txt")

    with pytest.raises(FileNotFoundError):
        store.make(tmp_path, "s", missing)


def test_a_store_that_is_read_only_is_read_and_not_written(tmp_path, monkeypatch):
    made = store.make(tmp_path, "s", build_text())

    def refuse(path, flags=os.O_RDWR, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("mkdir", "open", "rename", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert store.make(tmp_path, "s", build_text()) == made
    with pytest.raises(store.StoreError, match="Cannot use .*: Read-only file system; free some space or permission"):
        store.make(tmp_path, "other", build_text())
    monkeypatch.undo()
    assert not store.faults(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_what_cannot_be_read_just_now_is_not_taken_for_damaged(tmp_path, monkeypatch, number):
    made, read = store.make(tmp_path, "s", build_text()), Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, **_: disk_error(number, self))
    with pytest.raises(store.StoreError, match=os.strerror(number)):
        store.make(tmp_path, "s", build_text())
    assert store.fault(made.folder, full=True) == f"manifest.json cannot be read: {os.strerror(number)}"
    monkeypatch.setattr(Path, "read_text", read)
    assert store.make(tmp_path, "s", build_text()) == made


def disk_error(number, path):
    raise OSError(number, os.strerror(number), str(path))


def test_write_text_replaces_whole_and_only_when_it_changes(tmp_path):
    path = tmp_path / "deep" / "a.json"
    store.write_text(path, json.dumps([1]))
    before = path.stat().st_mtime_ns
    store.write_text(path, json.dumps([1]))
    assert path.stat().st_mtime_ns == before
    store.write_text(path, json.dumps([2]))
    assert path.read_text() == "[2]" and len(list(path.parent.iterdir())) == 1
