import errno
import gc
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unifeat import merging
from unifeat.lm import ngram
from unifeat.support import locks, maintenance, store


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


def test_two_processes_build_once(tmp_path):
    script = ("import os, pathlib, time\nfrom unifeat import store\n"
              f"root = pathlib.Path({str(tmp_path)!r})\n(root / f'started{{os.getpid()}}').touch()\n"
              "def build(folder):\n"
              "    while len(list(root.glob('started*'))) < 2:\n        time.sleep(0.05)\n"
              "    time.sleep(1)\n    (folder / 'a').write_text('x')\n    print('built')\n"
              "store.make(root, 's', build)\n")
    runs = []
    for _ in range(2):
        runs.append(subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True))
        while not list((tmp_path / ".locks").glob("*.owner")):  # the second starts when the first is known as the owner
            time.sleep(0.05)
    out = [run.communicate(timeout=60)[0] for run in runs]
    assert "".join(out).count("built") == 1 and all(run.returncode == 0 for run in runs)
    assert any(f"Waiting for process {run.pid} on {socket.gethostname()} (since 20" in "".join(out) for run in runs)


def test_the_lock_of_a_killed_owner_is_taken_over(tmp_path):
    script = ("import pathlib, sys, time\nfrom unifeat import store\n"
              "def build(folder):\n    (folder / 'a').write_text('x')\n    print('building', flush=True)\n"
              "    time.sleep(int(sys.argv[1]))\n"
              f"store.make(pathlib.Path({str(tmp_path)!r}), 's', build)\n")
    first = subprocess.Popen([sys.executable, "-c", script, "60"], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "building\n"
    second = subprocess.Popen([sys.executable, "-c", script, "0"], stdout=subprocess.PIPE, text=True)
    assert second.stdout.readline().startswith(f"Waiting for process {first.pid} on ")
    first.kill()
    assert second.communicate(timeout=30)[0] == "building\n" and second.returncode == 0 and first.wait() == -9
    assert not store.faults(tmp_path)


def test_code_version_ignores_prose_but_not_code(tmp_path):
    assert store.code_version(merging) != store.code_version(ngram)
    texts = ['"""Doc."""\nx = 1\n', "# other prose\nx = 1  # why\n", "x = 2\n"]
    codes = []
    for text in texts:
        (tmp_path / "m.py").write_text(text)
        codes.append(store._code(tmp_path / "m.py", len(codes)))
    assert codes[0] == codes[1] != codes[2]


@pytest.fixture
def switches():
    """Threads that take turns in the middle of what C code makes, as any garbage with a finalizer may have it."""
    def turn(phase, info):
        time.sleep(0)

    gc.callbacks.append(turn)
    yield
    gc.callbacks.remove(turn)


def test_code_versions_are_found_by_threads_at_once(switches):
    def work(_):
        store._code.cache_clear()
        return store.code_version(merging, ngram, store)

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(work, range(20)))) == 1


def test_write_text_replaces_whole_and_only_when_it_changes(tmp_path):
    path = tmp_path / "deep" / "a.json"
    store.write_text(path, json.dumps([1]))
    before = path.stat().st_mtime_ns
    store.write_text(path, json.dumps([1]))
    assert path.stat().st_mtime_ns == before
    store.write_text(path, json.dumps([2]))
    assert path.read_text() == "[2]" and len(list(path.parent.iterdir())) == 1


def run(root, name, *configs, whole=True):
    """A run called `name` that asks for an artefact per configuration."""
    with maintenance.asking(root, name) as left_out:
        left_out += [] if whole else ["an earlier notebook"]
        return [store.make(root, "s", build_text(), config=config) for config in configs]


def unused(root):
    return [path.name for path in maintenance.unused(root)]


def test_gc_lists_what_the_last_run_of_each_name_did_not_ask_for(tmp_path, capsys):
    root, names = tmp_path / "store", {}
    alone = store.make(root, "s", build_text(), config="alone").folder.name
    assert unused(root) == []  # no run has finished yet: nothing is known
    for name, configs in (("figures-laptop", "ab"), ("figures-smoke", "c"), ("figures-laptop", "bd")):
        names |= {config: made.folder.name for config, made in zip(configs, run(root, name, *configs), strict=True)}
    assert unused(root) == sorted([alone, names["a"]])
    run(root, "figures-laptop", "b", whole=False)  # FROM=08, or a notebook that had not changed
    assert unused(root) == sorted([alone, names["a"]])
    with pytest.raises(RuntimeError), maintenance.asking(root, "figures-laptop"):
        store.make(root, "s", build_text(), config="a")
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
    good, bad = (store.make(tmp_path, "s", build_text(), config=config) for config in "ab")
    assert maintenance.verify(tmp_path) == 0 and "All 2 artefacts (0.0 MB)" in capsys.readouterr().out
    (bad.folder / "a.txt").write_text("hellp")
    assert maintenance.verify(tmp_path) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{bad.folder.name}: a.txt has other content than was written"
    assert last.startswith("1 of 2 artefacts") and last.endswith("the next run computes them again.")
