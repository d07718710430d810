"""Several processes on one store: one builds, the others wait, and a killed one leaves nothing in the way."""

import errno
import socket
import subprocess
import sys
import time

import pytest

from unifeat.support import locks, store


def test_a_failed_or_killed_build_leaves_nothing_under_the_final_name(tmp_path):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        store.make(tmp_path, "s", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]
    script = ("import os, signal, pathlib\nfrom unifeat.support import store\n"
              "def build(folder):\n    (folder / 'a').write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
              f"store.make(pathlib.Path({str(tmp_path)!r}), 's', build)\n")
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert store.make(tmp_path, "s", lambda folder: (folder / "a").write_text("x"))  # the dead owner's lock is free


def test_two_processes_build_once(tmp_path):
    script = ("import os, pathlib, time\nfrom unifeat.support import store\n"
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
    script = ("import pathlib, sys, time\nfrom unifeat.support import store\n"
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


def test_a_lock_that_is_not_waited_for(tmp_path):
    with locks.locked(tmp_path, "s-1") as had:
        script = ("import pathlib\nfrom unifeat.support import locks\n"
                  f"with locks.locked(pathlib.Path({str(tmp_path)!r}), 's-1', wait=False) as had:\n    print(had)\n")
        assert had and subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"
    with locks.locked(tmp_path, "s-1", wait=False) as had:
        assert had


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1, "host": "x", "since": "then"}', '{"since": 1e300}'])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path, text):
    (tmp_path / "s.owner").write_text(text)
    assert locks._owner(tmp_path / "s.owner") == locks._owner(tmp_path / "none") == "another process"


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_a_drive_without_locks_is_a_sentence(tmp_path, monkeypatch, error):
    def acquire(*_, **__):
        raise error

    monkeypatch.setattr(locks.FileLock, "acquire", acquire)
    with pytest.raises(locks.StoreError, match="no file locks .*UNIFEAT_STORE"), locks.locked(tmp_path, "a-1"):
        pass
