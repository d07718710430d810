"""A user's own files: every format, where they may lie, and what is wrong with those that cannot be read."""

import gzip
import json
import lzma
import os
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from made_up import CONFIG, rows, write_parquet

from unifeat.lineage.settings import Text
from unifeat.text import files, sources
from unifeat.text.files import CorpusError

WRITERS = {
    "a.txt": lambda p, t: p.write_text(files.SPECIAL.join(t), encoding="utf-8"),
    "a.md": lambda p, t: p.write_text(files.SPECIAL.join(t), encoding="utf-8"),
    "a.jsonl": lambda p, t: p.write_bytes(rows(t)),
    "a.jsonl.gz": lambda p, t: p.write_bytes(gzip.compress(rows(t))),
    "a.jsonl.xz": lambda p, t: p.write_bytes(lzma.compress(rows(t))),
    "a.jsonl.zst": lambda p, t: p.write_bytes(zstandard.compress(rows(t))),
    "a.parquet": lambda p, t: write_parquet(p, {"content": t}),
    "a.lua": lambda p, t: [(p.parent / f"{n}.lua").write_text(x, encoding="utf-8") for n, x in enumerate(t)],
}


@pytest.mark.parametrize("name, layout", [(name, layout) for name in WRITERS for layout in ("folder", "file", "path")
                                          if (name, layout) != ("a.lua", "file")])  # that is one document
def test_formats(tmp_path, name, layout):
    """In the corpora's folder under the domain's name, as a folder or a file, or at a path of the domain's own."""
    texts = ["eins \u00e4\n", "zwei\nlines", "drei"]
    path = tmp_path / ("lua/" + name if layout != "file" else name.replace("a.", "lua."))
    path.parent.mkdir(exist_ok=True)
    WRITERS[name](path, texts)
    own = Text(language="lua", path=str(tmp_path / "lua") if layout == "path" else "")
    [found] = sources.documents("lua", own, replace(CONFIG, folder=str(tmp_path)), tmp_path)
    assert found.texts == texts and len(found.sha256) == 64


BAD = {
    "binary": ("lua.txt", b"abc\0def" * 50, "is binary"),
    "utf-16": ("lua.txt", "hello".encode("utf-16"), "is binary"),
    "latin-1": ("lua.txt", "caf\u00e9 olé".encode("latin-1"), r"is not UTF-8 \(byte 3\)"),
    "latin-1 in a row": ("lua.jsonl", b'{"text": "caf\xe9"}\n', "is not UTF-8"),
    "not JSON": ("lua.jsonl", b'{"text": "a"}\n{"text"\n', "line 2, is not a JSON object"),
    "no key": ("lua.jsonl", b'{"body": "a"}\n', "with the key text or content"),
    "a number": ("lua.jsonl", b'{"text": 3}\n', "holds int where text"),
    "empty": ("lua.txt", b" \n", "lua corpus .* is empty"),
    "empty rows": ("lua.jsonl", b"", "lua corpus .* is empty"),
    "cut gzip": ("lua.jsonl.gz", gzip.compress(b'{"text": "a"}')[:-9], "cannot be unpacked"),
    "cut zstd": ("lua.jsonl.zst", b"not zstd", "cannot be unpacked"),
    "no parquet": ("lua.parquet", b"PAR1 no", "not a readable parquet file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(tmp_path, case):
    name, data, message = BAD[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match=message) as caught:
        sources.documents("lua", Text(), replace(CONFIG, folder=str(tmp_path)), tmp_path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_parquet_without_text(tmp_path):
    write_parquet(tmp_path / "lua.parquet", {"body": ["a"]})
    with pytest.raises(CorpusError, match=r"lua.parquet has no column text or content \(it has body\)"):
        files.read(tmp_path / "lua.parquet")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return folder


def names(folder: Path, found: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found]


TREE = ("x/a.py", "x/b.lua", "x/c.txt", "x/deep/d.md", "x/deep/e.py", "x/f.pdf", "x/.git/g.txt", "x/.h.txt", "y.txt")


@pytest.mark.parametrize(("language", "more"), [("", []), ("python", ["a.py", "deep/e.py"]), ("lua", ["b.lua"])])
def test_source_files_are_read_of_the_domains_own_language_alone(tmp_path, language, more):
    """Both by the domain's name and at its own path; hidden files and other formats are left out."""
    put(tmp_path, *TREE)
    wanted = sorted(["c.txt", "deep/d.md", *more])
    assert names(tmp_path / "x", files.inside("any", tmp_path / "x", language)) == wanted
    assert names(tmp_path / "x", files.find("x", tmp_path, language)) == wanted


def test_a_single_file_of_a_domain(tmp_path):
    put(tmp_path, "one.txt", "x.jsonl", "xy.txt", "odd.name")
    assert files.inside("any", tmp_path / "one.txt") == [tmp_path / "one.txt"]
    assert files.inside("any", tmp_path / "odd.name") == [tmp_path / "odd.name"], "a path that is given is read"
    assert names(tmp_path, files.find("x", tmp_path)) == ["x.jsonl"]


def test_a_dot_above_the_domains_folder_hides_nothing(tmp_path):
    folder = put(tmp_path / ".cache", "x/a.txt")
    assert names(folder, files.find("x", folder)) == names(folder, files.inside("x", folder / "x")) == ["x/a.txt"]


def test_what_is_absent_is_named(tmp_path):
    put(tmp_path, "x/a.pdf")
    with pytest.raises(CorpusError, match="nowhere does not exist; set corpora.folder"):
        files.find("lua", tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"has nothing for the domain lua: .* \(formats: .txt, .* .lua\)"):
        files.find("lua", tmp_path, "lua")
    with pytest.raises(CorpusError, match="The text of the domain chat, .*nowhere, does not exist; correct its path"):
        files.inside("chat", tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"x has nothing for the domain chat \(formats: .* .py\)"):
        files.inside("chat", tmp_path / "x", "python")


def test_rows_of_both_keys(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [dict(text="one", content="no"), dict(content="two")])))
    assert files.read(tmp_path / "a.jsonl") == ["one", "two"]


def test_names_in_capitals_packed_texts_and_linked_folders_are_read(tmp_path, capsys):
    put(tmp_path / "elsewhere", "linked.txt")
    put(tmp_path / "x", "A.TXT", "B.JSONL", "c/D.Md", "e.pdf", "f.PDF", "LICENSE")
    with gzip.open(tmp_path / "x" / "g.TXT.GZ", "wb") as file:
        file.write("a packed text<|endoftext|>and another é".encode())
    (tmp_path / "x" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "x" / "round").symlink_to(tmp_path / "x")
    found = files.inside("any", tmp_path / "x")
    assert names(tmp_path / "x", found) == ["A.TXT", "B.JSONL", "c/D.Md", "g.TXT.GZ", "link/linked.txt"]
    assert files.read(tmp_path / "x" / "g.TXT.GZ") == ["a packed text", "and another é"]
    files.find("x", tmp_path)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "1 .PDF, 1 .pdf, 1 LICENSE (text is read from .txt" in said
    assert names(tmp_path, files.find("X", put(tmp_path / "y", "X.JSONL"))) == ["y/X.JSONL"]


def test_a_closed_folder_is_named(tmp_path, monkeypatch):
    put(tmp_path / "x", "a.txt", "closed/b.txt")
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    with pytest.raises(CorpusError, match="closed cannot be read .Permission denied.; see to its permissions"):
        files.inside("any", tmp_path / "x")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_document_that_is_a_whole_corpus_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "LONGEST", 100)
    text = "word " * 30
    (tmp_path / name).write_text(text if name == "a.txt" else json.dumps(dict(text=text)))
    with pytest.raises(CorpusError, match=r"has a document of 0 MB; put <.endoftext.> between the documents"):
        files.read(tmp_path / name)
    (tmp_path / name).write_text("word " * 15 if name == "a.txt" else json.dumps(dict(text="word")))
    assert len(files.read(tmp_path / name)) == 1
