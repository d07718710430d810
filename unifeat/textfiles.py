"""A user's own texts: .txt, .md, .jsonl (also .gz, .xz, .zst), .parquet and source files, into documents."""

import gzip
import io
import json
import lzma
from pathlib import Path

from unifeat.errors import UnifeatError

SPECIAL = "<|endoftext|>"  # in a .txt file, ends a document
EXTENSIONS = {"python": ".py", "lua": ".lua"}
FORMATS = (".txt", ".md", ".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.zst", ".parquet")


class CorpusError(UnifeatError):
    """A corpus that cannot be had or read."""


def find(domain: str, folder: Path) -> list[Path]:
    """Files of `domain`: folder/<domain>/** or folder/<domain>.*, in the known formats, sorted by name.

    Raises:
        CorpusError: the folder does not exist, or has nothing for the domain.
    """
    if not folder.is_dir():
        raise CorpusError(f"The corpora folder {folder} does not exist; set corpora.folder to one with a "
                          f"subfolder or file for each domain, such as {domain}.jsonl.")
    formats = (*FORMATS, EXTENSIONS.get(domain, ".txt"))
    inside = folder / domain
    found = inside.rglob("*") if inside.is_dir() else folder.glob(f"{domain}.*")
    paths = sorted(path for path in found if path.is_file() and path.name.endswith(formats)
                   and not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not paths:
        raise CorpusError(f"{folder} has nothing for the domain {domain}: add a subfolder {domain}/ or a "
                          f"file {domain}.jsonl (formats: {', '.join(dict.fromkeys(formats))}).")
    return paths


def read(path: Path) -> list[str]:
    """Documents of one file: rows of .jsonl or .parquet (text or content), else the file, split at SPECIAL.

    Raises:
        CorpusError: binary, not UTF-8, damaged, or without a text column.
    """
    if path.name.endswith(".parquet"):
        return _parquet(path)
    if ".jsonl" in path.name:
        return _jsonl(path)
    return [part for part in _text(path, path.read_bytes()).split(SPECIAL) if part.strip()]


def _text(path: Path, data: bytes) -> str:
    data = data.rstrip(b"\0")
    if b"\0" in data:
        raise CorpusError(f"{path} is binary (it holds NUL bytes), not text; remove it or save it as "
                          "UTF-8 text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start:,}); save it as UTF-8.") from error


def _jsonl(path: Path) -> list[str]:
    texts = []
    for number, line in enumerate(io.BytesIO(_unpacked(path)), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(_text(path, line))
            text = row["text"] if "text" in row else row["content"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(f"{path}, line {number}, is not a JSON object with the key text or content; "
                              "correct or remove that line.") from error
        if not isinstance(text, str):
            raise CorpusError(f"{path}, line {number}, holds {type(text).__name__} where text is expected; "
                              "correct or remove that line.")
        texts.append(text)
    return texts


def _unpacked(path: Path) -> bytes:
    try:
        if path.suffix == ".zst":
            import zstandard  # only this format needs it

            with zstandard.open(path, "rb") as file:
                return file.read()
        unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)
        return unpack(path.read_bytes())
    except Exception as error:  # each format has its own errors
        raise CorpusError(f"{path} cannot be unpacked ({error}); it may be cut off, so copy it "
                          "again.") from error


def _parquet(path: Path) -> list[str]:
    import pyarrow.parquet  # a second to import

    try:
        file = pyarrow.parquet.ParquetFile(path)
        column = next((name for name in ("text", "content") if name in file.schema_arrow.names), None)
        if column is None:
            raise CorpusError(f"{path} has no column text or content (it has "
                              f"{', '.join(file.schema_arrow.names)}); rename the one that holds the "
                              "documents.")
        texts = file.read(columns=[column]).column(column).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(f"{path} is not a readable parquet file ({error}); write it again.") from error
    if any(not isinstance(text, str) for text in texts):
        raise CorpusError(f"{path}, column {column}, holds values that are not text; remove those rows.")
    return texts
