"""Documents to packed tokens: what is kept, the split, the streams, the overlap between the splits."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import CONFIG, TEXTS, rows, text, write_files

from unifeat.lineage.settings import Text
from unifeat.text import bpe, corpora, sources
from unifeat.text.corpora import CorpusError

# Building ---------------------------------------------------------------------------------------------------


def test_streams_hold_every_document_once(built):
    for place, domain in enumerate(TEXTS):
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
        assert texts == {text(1000 * place + n) for n in range(30)}


def test_order_of_the_documents_changes_nothing():
    texts = [text(n) for n in range(40)]
    a, _ = corpora.select("lua", [texts], replace(CONFIG, max_bytes=5000))
    b, _ = corpora.select("lua", [texts[::-1]], replace(CONFIG, max_bytes=5000))
    assert a == b and 5000 <= sum(doc.bytes for doc in a) < 6000


def test_same_configuration_same_bytes_and_seed_changes_only_train(built, tmp_path):
    folder = write_files(tmp_path / "files")
    for name, seed in (("again", 0), ("other", 1)):
        out = tmp_path / name
        corpora.build(replace(CONFIG, folder=str(folder), seed=seed), TEXTS, out, folder)
        for path in built.folder.rglob("*"):
            if path.is_file():
                same = path.read_bytes() == (out / path.relative_to(built.folder)).read_bytes()
                assert same != (seed == 1 and path.name.endswith(".train.npy")), path.name


def test_domains_may_have_any_name_number_and_source(tmp_path, monkeypatch):
    """A file of its own, a folder elsewhere, a name in the corpora's folder, an embedded text: each as it says."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "by-name.jsonl").write_bytes(rows(text(n) for n in range(20)))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.txt").write_text("<|endoftext|>".join(text(100 + n) for n in range(20)))
    (tmp_path / "chat.md").write_text("<|endoftext|>".join(text(200 + n) for n in range(20)))
    monkeypatch.setattr(sources, "pinned", lambda: {"toy": ["an entry"]})
    monkeypatch.setattr(sources, "_embedded", lambda entry, downloads: sources.Source(
        "toy", "toy-package", "1.0", "abc", "MIT", [text(300 + n) for n in range(20)]))
    texts = {"web": Text(path=str(tmp_path / "web")), "chat": Text(path=str(tmp_path / "chat.md")), "by-name": Text(),
             "z": Text(source="embedded", embedded="toy")}
    corpora.build(replace(CONFIG, folder=str(tmp_path / "here")), texts, tmp_path / "out", tmp_path)
    found = corpora.load(tmp_path / "out")
    assert found.domains == ("web", "chat", "by-name", "z")
    train = found.stats().query("split == 'train'").set_index("domain")
    assert train["package"].to_dict() == {"web": "a.txt", "chat": "chat.md", "by-name": "by-name.jsonl",
                                          "z": "toy-package"}
    assert train["licence"]["z"] == "MIT" and (found.stats().groupby("domain")["documents"].sum() == 20).all()


def test_two_sources_of_a_domain_are_counted_apart_and_share_no_document(tmp_path, monkeypatch):
    one, other = [text(n) for n in range(20)], [text(n) for n in range(10, 40)]
    monkeypatch.setattr(corpora, "documents", lambda *_: [sources.Source(name, name, "1", "", "MIT", texts)
                                                          for name, texts in (("a", one), ("b", other))])
    corpora.build(CONFIG, {"x": Text()}, tmp_path / "out", tmp_path)
    found = corpora.load(tmp_path / "out")
    counts = found.stats().groupby("package")[["documents", "duplicates", "tokens"]].sum()
    assert counts["documents"].to_dict() == dict(a=20, b=20) and counts["duplicates"].to_dict() == dict(a=0, b=10)
    for package, texts in (("a", one), ("b", other[10:])):
        assert counts["tokens"][package] == sum(bpe.pack(found.tokenizer.backend_tokenizer, texts)[1])
    assert found.stats().groupby("split")["tokens"].sum().to_dict() == {
        split: len(found.tokens("x", split)) for split in corpora.SPLITS}


def test_a_given_tokenizer_packs_the_text(built, tmp_path):
    folder = write_files(tmp_path / "files", 10)
    corpora.build(replace(CONFIG, folder=str(folder)), {"lua": Text()}, tmp_path / "out", folder, built.tokenizer)
    found = corpora.load(tmp_path / "out")
    assert found.tokenizer.get_vocab() == built.tokenizer.get_vocab()
    assert (found.token_bytes == built.token_bytes).all()


def test_blocks_are_views_of_the_map(built):
    blocks, stream = built.blocks("english", "train"), built.tokens("english", "train")
    assert blocks.shape == (len(stream) // 16, 16) and isinstance(blocks, np.memmap)
    assert list(built.stats()["domain"].unique()) == list(TEXTS) == list(built.domains)


def test_damaged_result_is_named(tmp_path):
    with pytest.raises(CorpusError, match="does not hold complete corpora"):
        corpora.load(tmp_path)


# Overlap ----------------------------------------------------------------------------------------------------


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


# Choice of documents ----------------------------------------------------------------------------------------


def test_licence_header_goes_and_code_stays():
    header = "--!name\n--\n-- Licensed under the Apache License\n--\n\n"
    assert corpora.clean(header + "-- load\nlocal a = 1\n", "lua") == "-- load\nlocal a = 1\n"
    assert corpora.clean("--[[ a\n\nMIT\n]]\n\nlocal a = 1\n", "lua") == "local a = 1\n"
    assert corpora.clean("-- what it does\nlocal a = 1\n", "lua") == "-- what it does\nlocal a = 1\n"
    assert corpora.clean("#!/bin/python\n# (c) copyright\nx = 1\n", "python") == "x = 1\n"
    assert corpora.clean("Copyright") == "Copyright"


def test_the_language_not_the_domains_name_decides_what_is_left_out():
    code = [f"# Copyright {n}\n\n{text(n)}\n" for n in range(8)]
    as_code, _ = corpora.select("mine", [code], CONFIG, "python")
    as_text, _ = corpora.select("python", [code], CONFIG)
    assert not any("Copyright" in doc.text for doc in as_code) and all("Copyright" in doc.text for doc in as_text)


def test_two_documents_give_two_splits():
    docs, _ = corpora.select("lua", [[text(1), text(2)]], replace(CONFIG, validation_share=0.001))
    assert sorted(doc.split for doc in docs) == ["train", "validation"]


def test_one_document_cannot_be_split():
    with pytest.raises(CorpusError, match="has 0 documents of at least 200 bytes"):
        corpora.select("lua", [["too short"]], CONFIG)
    for texts in ([text(1)], [text(1), text(1).upper()], [text(1), "short"]):
        with pytest.raises(CorpusError, match="The stories corpus has 1 document .* cannot be split"):
            corpora.select("stories", [texts], CONFIG)
