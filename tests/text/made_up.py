"""Made-up text that the tests of this room share."""

import json
from pathlib import Path

import numpy as np

from unifeat.lineage.settings import Corpora, Text

CONFIG = Corpora(source="files", folder="", vocab=400, context=16, max_bytes=0, validation_share=0.25,
                 tokenizer_bytes=50_000, seed=0)
TEXTS = {"english": Text(), "python": Text(language="python"), "stories": Text(), "lua": Text(language="lua")}


def text(number: int, words: int = 60) -> str:
    """A document of its own words, different for each number."""
    rng = np.random.default_rng(number)
    lengths = rng.integers(2, 8, words)
    return " ".join("".join(chr(97 + c) for c in rng.integers(0, 26, length)) for length in lengths)


def rows(texts) -> bytes:
    """Documents as .jsonl."""
    return "\n".join(json.dumps({"content": t}) for t in texts).encode()


def write_files(folder: Path, documents: int = 30) -> Path:
    """A .jsonl file per domain of TEXTS."""
    folder.mkdir(exist_ok=True)
    for place, domain in enumerate(TEXTS):
        (folder / f"{domain}.jsonl").write_bytes(rows(text(1000 * place + n) for n in range(documents)))
    return folder


def write_parquet(path: Path, columns: dict) -> None:
    """Columns as a parquet file."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
