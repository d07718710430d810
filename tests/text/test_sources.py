"""Where text comes from: the source that a domain states or the lineage's, the hub's data sets, what is in a key."""

import json
from dataclasses import replace

import pytest
from made_up import CONFIG, TEXTS, rows, text, write_files, write_parquet

from unifeat.lineage.settings import Hub, Text
from unifeat.text import sources
from unifeat.text.files import CorpusError

BABY = dict(name="nilq/baby-python", column="content", revision="1" * 40)
HUB = {"english": Text(hub=Hub(**BABY, keep="prose")), "python": Text(hub=Hub(**BABY, keep="python")),
       "stories": Text(hub=Hub("roneneldan/TinyStories", "text", "main")),
       "lua": Text(hub=Hub("nilq/small-lua-stack", "content", "abc"))}


def test_a_domains_own_source_wins_over_the_lineages(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_embedded", lambda entry, downloads: entry)
    monkeypatch.setattr(sources, "pinned", lambda: {"toy": [sources.Source("toy", "p", "1", "", "MIT", ["text"])]})
    config = replace(CONFIG, folder=str(write_files(tmp_path)))
    [found] = sources.documents("lua", Text(source="embedded", embedded="toy"), config, tmp_path)
    assert found.package == "p"
    config = replace(config, source="embedded")
    [found] = sources.documents("lua", Text(source="files", embedded="toy"), config, tmp_path)
    assert found.package == "lua.jsonl"


def test_an_embedded_text_that_there_is_not_is_named(tmp_path):
    with pytest.raises(CorpusError, match="chat asks for the embedded text 'chats'; choose one of english, python"):
        sources.documents("chat", Text(embedded="chats"), replace(CONFIG, source="embedded"), tmp_path)


def test_fingerprint_follows_the_texts(tmp_path):
    config = replace(CONFIG, folder=str(write_files(tmp_path)))
    before = sources.fingerprint(TEXTS, config)
    assert sources.fingerprint(TEXTS, config) == before and set(before) == set(TEXTS)
    (tmp_path / "lua.jsonl").write_bytes(rows(["other"]))
    after = sources.fingerprint(TEXTS, config)
    assert {domain for domain in TEXTS if after[domain] != before[domain]} == {"lua"}


def test_fingerprint_of_each_source(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    texts = dict(HUB, mine=Text(source="files", path=str(tmp_path)), wiki=Text(source="embedded", embedded="english"))
    before = sources.fingerprint(texts, replace(CONFIG, source="hub"))
    assert before["stories"] == ["roneneldan/TinyStories", "text", "main"] and json.dumps(before)
    assert before["wiki"] == sources.pinned()["english"]
    (tmp_path / "b.txt").write_text("more")
    after = sources.fingerprint(texts, replace(CONFIG, source="hub"))
    assert {domain for domain in texts if after[domain] != before[domain]} == {"mine"}


# Hub --------------------------------------------------------------------------------------------------------


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

    def read(domain, config=config):
        return sources.documents(domain, HUB[domain], config, tmp_path)[0].texts

    assert [read(domain) for domain in HUB] == [english, python, english, ["local x = 1"]]
    write_parquet(tmp_path / "roneneldan/TinyStories/data/train-00000-of-00001.parquet",
                  {"text": [*english, None, ""] * 600})
    assert read("stories") == english * 600  # several batches of rows
    assert read("stories", replace(config, max_bytes=len(english[0]) + 1)) == english[:2]
    write_parquet(tmp_path / "nilq/small-lua-stack/data/train-00000-of-00001.parquet", {"body": ["a"]})
    with pytest.raises(CorpusError, match="small-lua-stack has no column content"):
        read("lua")


def test_hub_joins_lines_of_transcripts():
    lines = [f"*MOT: look at number {n} !" for n in range(300)]
    found = list(sources._take(lines, "english", HUB["english"].hub, 0))
    assert len(found) > 1 and "\n".join(found) == "\n".join(lines)[:len("\n".join(found))]
    assert all(len(t) >= sources.JOINED for t in found)
    assert list(sources._take(lines, "english", HUB["stories"].hub, 0)) == lines  # a set of one kind is left as it is


def test_hub_without_network_or_folder(tmp_path, monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("Name or service not known")

    for name in ("repo_info", "list_repo_commits", "dataset_info"):
        monkeypatch.setattr(huggingface_hub.HfApi, name, refuse)
    config = replace(CONFIG, source="hub", folder="")
    for domain in ("stories", "lua"):
        with pytest.raises(CorpusError, match=r"\(Name or service not known\); check the network"):
            sources.documents(domain, HUB[domain], config, tmp_path)
    with pytest.raises(CorpusError, match="TinyStories does not exist"):
        sources.documents("stories", HUB["stories"], replace(config, folder=str(tmp_path)), tmp_path)
