import errno
import json
import subprocess
import sys

import pytest

from unifeat import merge, ngram, store


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
def test_a_damaged_artefact_is_rebuilt(tmp_path, damage):
    made = store.make(tmp_path, "s", build_text())
    damage(made.folder / "a.txt")
    assert store.load(made.folder) is None and store.verify(tmp_path) == [made.folder.name]
    assert (store.make(tmp_path, "s", build_text()).folder / "a.txt").read_text() == "hello"
    assert store.verify(tmp_path) == []


def test_a_flipped_bit_is_found_by_verify(tmp_path):
    made = store.make(tmp_path, "s", build_text())
    (made.folder / "a.txt").write_text("hellp")
    assert store.verify(tmp_path) == [made.folder.name]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"a.txt": {}}}', "\xff"])
def test_a_foreign_manifest_is_not_trusted(tmp_path, text):
    made = store.make(tmp_path, "s", build_text())
    (made.folder / store.MANIFEST).write_text(text)
    assert store.load(made.folder) is None


def test_a_failed_or_killed_build_leaves_nothing_under_the_final_name(tmp_path):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        store.make(tmp_path, "s", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]
    script = ("import os, signal, pathlib\nfrom unifeat import store\n"
              "def build(folder):\n    (folder / 'a').write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
              f"store.make(pathlib.Path({str(tmp_path)!r}), 's', build)\n")
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert store.make(tmp_path, "s", build_text())  # the dead owner's lock is free


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, ""),
                                   RuntimeError("I/O error: No space left on device (os error 28)")])
def test_a_full_disk_is_one_sentence_and_the_store_stays_whole(tmp_path, error):
    def full(folder):
        (folder / "half.txt").write_text("half")
        raise error

    store.make(tmp_path, "other", build_text())
    with pytest.raises(store.StoreError, match="free some space or permission"):
        store.make(tmp_path, "s", full)
    assert store.verify(tmp_path) == [] and not list(tmp_path.glob("s-*"))


def test_other_errors_of_a_build_are_not_blamed_on_the_disk(tmp_path):
    def missing(folder):
        raise FileNotFoundError("input.txt")

    with pytest.raises(FileNotFoundError):
        store.make(tmp_path, "s", missing)


def test_two_processes_build_once(tmp_path):
    script = ("import pathlib, time\nfrom unifeat import store\n"
              "def build(folder):\n    time.sleep(1)\n    (folder / 'a').write_text('x')\n    print('built')\n"
              f"store.make(pathlib.Path({str(tmp_path)!r}), 's', build)\n")
    runs = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    out = [run.communicate()[0] for run in runs]
    assert "".join(out).count("built") == 1 and all(run.returncode == 0 for run in runs)
    assert "Waiting for another process" in "".join(out)


def test_code_version_ignores_prose_but_not_code(tmp_path):
    assert store.code_version(merge) != store.code_version(ngram)
    texts = ['"""Doc."""\nx = 1\n', "# other prose\nx = 1  # why\n", "x = 2\n"]
    codes = []
    for text in texts:
        (tmp_path / "m.py").write_text(text)
        codes.append(store._code(tmp_path / "m.py", len(codes)))
    assert codes[0] == codes[1] != codes[2]


def test_write_text_replaces_whole_and_only_when_it_changes(tmp_path):
    path = tmp_path / "deep" / "a.json"
    store.write_text(path, json.dumps([1]))
    before = path.stat().st_mtime_ns
    store.write_text(path, json.dumps([1]))
    assert path.stat().st_mtime_ns == before
    store.write_text(path, json.dumps([2]))
    assert path.read_text() == "[2]" and len(list(path.parent.iterdir())) == 1
