"""A disk that fails at any write, a process that dies at any moment, files that rot: the store stays right."""

import builtins
import collections
import errno
import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import graph
import pytest

from unifeat.support import locks, maintenance, store


@pytest.fixture(autouse=True, scope="module")
def no_sync():
    """What is synced matters where power is lost, which no test can make; on a busy disk it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The contents of an undisturbed store."""
    root = tmp_path_factory.mktemp("whole")
    graph.make(root)
    found = graph.contents(root)
    assert {name.partition("/")[2] for name in found} == {*graph.KINDS, store.MANIFEST}
    return found


# Failing writes ----------------------------------------------------------------------------------------------------

class FailingDisk:
    """Fails the writes from number `first` on, `count` of them, with error `number`."""

    def __init__(self, root: Path, first: int, count: float, number: int):
        self.root, self.first, self.last, self.number, self.writes = root, first, first + count, number, 0

    def tick(self):
        self.writes += 1
        if self.first <= self.writes < self.last:
            raise OSError(self.number, os.strerror(self.number))

    def wrap(self, call):
        def wrapped(*arguments, **options):
            self.tick()
            return call(*arguments, **options)

        return wrapped

    def open(self, file, mode="r", *arguments, **options):
        ours = isinstance(file, str | Path) and str(file).startswith(str(self.root)) and mode[0] in "wax"
        if ours:
            self.tick()
        stream = plain_open(file, mode, *arguments, **options)
        if ours:
            stream.write = self.wrap(stream.write)
        return stream

    def install(self, patch):
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, self.wrap(getattr(os, name)))
        patch.setattr(os, "fsync", lambda _: self.tick())
        patch.setattr(io, "open", self.open)
        patch.setattr(builtins, "open", self.open)


plain_open = io.open


@pytest.mark.parametrize("count", [1, float("inf")], ids=["once", "for good"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_write_that_fails_anywhere_leaves_a_store_from_which_a_rerun_gives_the_same_bytes(
        tmp_path, monkeypatch, whole, number, count):
    raised = 0
    for first in range(1, 1000):
        root = tmp_path / str(first)
        failing = FailingDisk(root, first, count, number)
        with monkeypatch.context() as patch:
            failing.install(patch)
            try:
                graph.make(root)
            except store.StoreError as error:
                assert os.strerror(number) in str(error) and "\n" not in str(error)
                raised += 1
        assert not store.faults(root)
        assert whole.items() >= graph.contents(root).items()
        graph.make(root)
        assert graph.contents(root) == whole and not list(root.glob(".*-*"))
        locks.remove(root)
        if failing.writes < first:
            break
    print(f"{raised} of {first} failures ended the run")
    assert 60 < raised <= first - 1  # the rest hit what may fail: clearing up, and the note of a lock's owner


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("write", [
    "(folder / 'a.txt').write_text('x')", "numpy.save(folder / 'a', numpy.zeros(9))", "numpy.zeros(10**5).tofile(path)",
    "numpy.savez(folder / 'a', a=numpy.zeros(9))", "Tokenizer(models.BPE()).save(str(path))"])
def test_every_library_that_finds_the_disk_full_is_one_sentence(tmp_path, write):
    def build(folder):
        import numpy
        from tokenizers import Tokenizer, models

        for name in ("a.txt", "a.npy", "a.npz"):
            (folder / name).symlink_to("/dev/full")
        exec(write, dict(folder=folder, path=folder / "a.txt", numpy=numpy, Tokenizer=Tokenizer, models=models))

    with pytest.raises(store.StoreError, match="No space left on device; free some space"):
        store.make(tmp_path, "s", build)
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]


SCRIPT = """
import resource, sys
import numpy
from pathlib import Path
from safetensors.numpy import save_file
from unifeat.support import store
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
try:
    store.make(Path(sys.argv[1]), "s", lambda folder: eval(sys.argv[2]))
except store.StoreError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("write", [
    "numpy.save(folder / 'a', numpy.zeros(9))",  # which numpy itself does not notice
    "numpy.save(folder / 'a', numpy.zeros(999))", "save_file({'a': numpy.zeros(999)}, folder / 'a.safetensors')"])
def test_a_write_that_stops_in_the_middle_is_noticed(tmp_path, write):
    done = subprocess.run(command("-c", SCRIPT, tmp_path, write), capture_output=True, text=True, env=environment())
    assert done.returncode == 1 and done.stderr.startswith(f"Cannot use {tmp_path}: "), done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.glob("*s-*"))


# Killed processes --------------------------------------------------------------------------------------------------

def command(*arguments):
    return [sys.executable, *map(str, arguments)]


def environment():
    here = Path(graph.__file__).parent
    return dict(os.environ, PYTHONPATH=os.pathsep.join([str(here), str(here.parents[1])]), OMP_NUM_THREADS="1")


def test_killed_at_random_moments_and_finished_gives_the_same_bytes(tmp_path, whole):
    rng, kills, resumed = random.Random(0), 0, 0
    for _ in range(12):
        resumed += bool(list(tmp_path.glob(".model-*/checkpoint/state.npy")))
        process = subprocess.Popen(command(graph.__file__, tmp_path, 0.05), stdout=subprocess.PIPE, text=True,
                                   env=environment())
        process.stdout.readline()  # a stage has begun, or all are made
        time.sleep(rng.random() * 0.15)
        kills += process.poll() is None
        process.kill()
        process.communicate()
        assert not store.faults(tmp_path) and whole.items() >= graph.contents(tmp_path).items()
    graph.make(tmp_path)
    print(f"{kills} kills, {resumed} times there was a checkpoint")
    assert graph.contents(tmp_path) == whole and not list(tmp_path.glob(".*-*"))
    assert kills >= 3


def test_two_processes_on_one_store_make_each_artefact_once(tmp_path, whole):
    both = [subprocess.Popen(command(graph.__file__, tmp_path, 0.05), stdout=subprocess.PIPE, text=True,
                             env=environment()) for _ in range(2)]
    lines = [line for process in both for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    counts = collections.Counter(line for line in lines if not line.startswith("Waiting for "))
    assert counts == dict.fromkeys(("corpora", "model", "features", "table"), 1)
    assert graph.contents(tmp_path) == whole


# Rotten files ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [*graph.KINDS, store.MANIFEST])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_flipped_bit_is_named_by_verify(tmp_path, capsys, kind, place):
    graph.make(tmp_path)
    path = next(tmp_path.glob(f"[!.]*/{kind}"))
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 2))] ^= 4
    path.write_bytes(data)
    name = path.relative_to(tmp_path).parts[0]
    assert maintenance.verify(tmp_path) == 1
    assert list(store.faults(tmp_path)) == [name]
    assert kind == store.MANIFEST or f"{name}: {kind}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [*graph.KINDS, store.MANIFEST])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_truncated_file_is_named_and_its_artefact_made_again(tmp_path, capsys, whole, kind, keep):
    graph.make(tmp_path)
    path = next(tmp_path.glob(f"[!.]*/{kind}"))
    data = path.read_bytes()
    path.write_bytes(data[:int(keep * len(data))])
    name = path.relative_to(tmp_path).parts[0]
    assert list(store.faults(tmp_path)) == [name]
    capsys.readouterr()
    graph.make(tmp_path)
    out, error = capsys.readouterr()
    assert out == f"{name.rpartition('-')[0]}\n" and error.startswith(f"{name} in the store cannot be used ({kind} ")
    assert graph.contents(tmp_path) == whole


# Clocks ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("now", [0, 4e9], ids=["1970", "2096"])
def test_clocks_that_jump_change_nothing(tmp_path, capsys, monkeypatch, whole, now):
    with maintenance.asking(tmp_path, "figures-smoke"):
        graph.make(tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (now, now))
    monkeypatch.setattr(time, "time", lambda: now)
    capsys.readouterr()
    with maintenance.asking(tmp_path, "figures-smoke"):
        graph.make(tmp_path)
    assert capsys.readouterr().out == ""  # nothing was built
    assert maintenance.unused(tmp_path) == [] and maintenance.verify(tmp_path) == 0
    assert graph.contents(tmp_path) == whole
    with locks.locked(tmp_path, "x-0"):
        monkeypatch.setattr(time, "time", lambda: 2e9)
        assert " s ago)" in locks._owner(tmp_path / ".locks" / "x-0.owner")
