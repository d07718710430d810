"""Archives and packed text that leave their place, fill the memory or are damaged: refused, and nothing is written."""

import gzip
import json
import lzma
import stat
import zipfile

import pytest
import zstandard

from unifeat.text import archives, files


def members(path, wanted="*"):
    return list(archives.members(path, {"members": [wanted]}))


@pytest.mark.parametrize("name", ["../x.lua", "a/../../x.lua", "/etc/x.lua", "..\\x.lua", "C:/x.lua", "a\\..\\x.lua"])
def test_names_that_leave_an_archive_are_refused_and_nothing_is_written(tmp_path, name):
    (tmp_path / "here").mkdir()
    with zipfile.ZipFile(tmp_path / "here" / "bad.whl", "w") as file:
        file.writestr(name, "local x")
    with pytest.raises(files.CorpusError, match="bad.whl holds a file with the unsafe name"):
        members(tmp_path / "here" / "bad.whl")
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "bad.whl"]


def test_links_in_an_archive_are_refused(tmp_path):
    link = zipfile.ZipInfo("a.lua")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.whl", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(files.CorpusError, match="bad.whl holds the symbolic link 'a.lua'"):
        members(tmp_path / "bad.whl")


def test_bombs_and_lies_in_an_archive_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.lua", b"\0" * 10**7)
    with pytest.raises(files.CorpusError, match="a.lua, which unpacks from 9,7.. to 10,000,000 bytes"):
        members(path)
    path.write_bytes(path.read_bytes().replace((10**7).to_bytes(4, "little"), (10**5).to_bytes(4, "little")))
    with pytest.raises(files.CorpusError, match="bad.whl is not a readable archive"):
        members(path)  # its size is told as a hundredth; no more than that is unpacked
    with zipfile.ZipFile(path, "w") as file:
        for number in range(9):
            file.writestr(f"{number}.lua", "x" * 200)
    monkeypatch.setattr(archives, "ARCHIVE_LIMIT", 1000)
    with pytest.raises(files.CorpusError, match="5.lua, which unpacks"):
        members(path)


def test_a_damaged_or_locked_archive_is_one_sentence(tmp_path):
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.lua", "local x = 1\n" * 99)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1:])
        try:
            assert b"".join(data for _, data in members(path)) in (b"local x = 1\n" * 99, b"")
        except files.CorpusError as error:
            assert "bad.whl" in str(error)


PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.compress}


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_text_that_is_a_bomb_or_cut_off_is_refused(tmp_path, monkeypatch, kind):
    path = tmp_path / f"lua.jsonl.{kind}"
    path.write_bytes(PACKERS[kind](b'{"text": "' + b"a" * 10**7 + b'"}'))
    assert len(files.read(path)[0]) == 10**7
    monkeypatch.setattr(files, "UNPACKED", 10**5)
    monkeypatch.setattr(files, "RATIO", 20)
    with pytest.raises(files.CorpusError, match=f"{path.name} unpacks to more than [0-9,]+ bytes, which no text"):
        files.read(path)
    rows = [json.dumps({"text": str(hash(str(n)))}).encode() + b"\n" for n in range(100)]
    packed = [PACKERS[kind](b"".join(rows[:50])), PACKERS[kind](b"".join(rows[50:]))]
    path.write_bytes(b"".join(packed))
    assert len(files.read(path)) == 100  # of both parts
    for cut in (1, 9, len(packed[1]) // 2):
        path.write_bytes(b"".join(packed)[:-cut])
        with pytest.raises(files.CorpusError, match="cannot be unpacked"):
            files.read(path)


def test_parquet_that_is_a_bomb_is_refused(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "lua.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a" * 10**4] * 5000}), path)  # 50 MB in some kilobytes
    assert path.stat().st_size < 10**5 and len(files.read(path)) == 5000
    monkeypatch.setattr(files, "UNPACKED", 10**6)
    with pytest.raises(files.CorpusError, match="lua.parquet unpacks to more than 200 times its size"):
        files.read(path)
