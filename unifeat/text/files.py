"""A user's own texts: .txt, .md, .jsonl (also .gz, .xz, .zst), .parquet and source files, into documents."""

import functools
import gzip
import io
import json
import lzma
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from unifeat.support.errors import UnifeatError

SPECIAL = "<|endoftext|>"  # in a .txt file, ends a document
EXTENSIONS = {"python": ".py", "lua": ".lua"}
UNPACKED, RATIO = 64 * 2**20, 200  # a packed file may unpack to so many bytes, or to so many times its own size
PACKED = (".gz", ".xz", ".zst")
FORMATS = (*(kind + packed for kind in (".txt", ".md", ".jsonl") for packed in ("", *PACKED)), ".parquet")
LONGEST = 200_000_000  # bytes of a document; what is longer is a whole corpus without marks between its documents


class CorpusError(UnifeatError):
    """A corpus that cannot be had or read."""


def find(domain: str, folder: Path, language: str = "") -> list[Path]:
    """Files of `domain`: folder/<domain>/** or folder/<domain>.*, in the known formats, sorted by name.

    language: python or lua, whose source files are read too.

    Raises:
        CorpusError: the folder does not exist, or has nothing for the domain.
    """
    if not folder.is_dir():
        raise CorpusError(f"The corpora folder {folder} does not exist; set corpora.folder to one with a "
                          f"subfolder or file for each domain, such as {domain}.jsonl.")
    formats, own = _formats(language), folder / domain
    paths = (walk(own, formats) if own.is_dir() else
             sorted(path for path in folder.iterdir() if path.name.startswith(f"{domain}.") and _known(path, formats)))
    if not paths:
        raise CorpusError(f"{folder} has nothing for the domain {domain}: add a subfolder {domain}/ or a "
                          f"file {domain}.jsonl (formats: {', '.join(formats)}).")
    return paths


def inside(domain: str, path: Path, language: str = "") -> list[Path]:
    """Files of `domain` at `path`: the file itself, or all in the folder in the known formats, sorted by name.

    Raises:
        CorpusError: it does not exist, or holds nothing that can be read.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CorpusError(f"The text of the domain {domain}, {path}, does not exist; correct its path.")
    paths = walk(path, _formats(language))
    if not paths:
        raise CorpusError(f"{path} has nothing for the domain {domain} (formats: {', '.join(_formats(language))}).")
    return paths


def _formats(language: str) -> tuple[str, ...]:
    return FORMATS + ((EXTENSIONS[language],) if language else ())


def walk(folder: Path, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Files in `folder` and below in `formats`, in capitals or not, sorted; linked folders too, hidden ones not.

    What is left out for its kind is counted on the terminal, once.

    Raises:
        CorpusError: a subfolder that may not be read.
    """
    def closed(error):
        raise CorpusError(f"{error.filename} cannot be read ({error.strerror}); see to its permissions, or move it "
                          "away.")

    found, other, seen = [], Counter(), set()
    for where, inside, names in os.walk(folder, onerror=closed, followlinks=True):
        place = os.path.realpath(where)
        inside[:] = [] if place in seen else [name for name in inside if not name.startswith(".")]
        for name in names if place not in seen else ():
            if _known(path := Path(where, name), formats):
                found.append(path)
            elif not name.startswith("."):
                other[path.suffix or name] += 1
        seen.add(place)  # a link to a folder above would lead round and round
    if other:
        _say(folder, ", ".join(f"{count} {kind}" for kind, count in sorted(other.items())[:8]), formats)
    return sorted(found)


def _known(path: Path, formats: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(formats) and not path.name.startswith(".") and path.is_file()


@functools.cache
def _say(folder: Path, kinds: str, formats: tuple[str, ...]) -> None:
    print(f"Left out of {folder}: {kinds} (text is read from {', '.join(formats)}).", file=sys.stderr, flush=True)


def read(path: Path) -> list[str]:
    """Documents of one file: rows of .jsonl or .parquet (text or content), else the file, split at SPECIAL.

    Raises:
        CorpusError: binary, not UTF-8, damaged, not permitted, unpacks to too much, without a text column, or with a
            document of more than LONGEST bytes.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            texts = _parquet(path)
        elif ".jsonl" in name:
            texts = _jsonl(path)
        else:
            data = _unpacked(path) if name.endswith(PACKED) else path.read_bytes()
            texts = [part for part in _text(path, data).split(SPECIAL) if part.strip()]
        if (size := max(map(len, texts), default=0)) > LONGEST:
            raise CorpusError(f"{path} has a document of {size / 1e6:,.0f} MB; put {SPECIAL} between the documents of "
                              "a text file, or give one document a row in .jsonl.")
        return texts
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error}); see to its permissions or copy it "
                          "again.") from error


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
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorpusError(f"{path}, line {number}, is not a JSON object with the key text or content; "
                              "correct or remove that line.") from error
        if not isinstance(text, str):
            raise CorpusError(f"{path}, line {number}, holds {type(text).__name__} where text is expected; "
                              "correct or remove that line.")
        if any("\ud800" <= char <= "\udfff" for char in set(text)):
            raise CorpusError(f"{path}, line {number}, holds half a surrogate pair (a \\ud8.. escape without its "
                              "other half), which is no character; correct or remove that line.")
        texts.append(text)
    return texts


def _unpacked(path: Path) -> bytes:
    limit, data = max(UNPACKED, RATIO * path.stat().st_size), bytearray()
    try:
        for part in _parts(path):
            data += part
            if len(data) > limit:
                raise CorpusError(f"{path} unpacks to more than {limit:,} bytes, which no text does; unpack and look "
                                  "at it before you use it.")
    except CorpusError:
        raise
    except Exception as error:  # each format has its own errors
        raise CorpusError(f"{path} cannot be unpacked ({error}); it may be cut off, so copy it "
                          "again.") from error
    return bytes(data)


def _parts(path: Path) -> Iterator[bytes]:
    """The unpacked bytes of a file, a few at a time."""
    if path.suffix.lower() == ".zst":
        yield from _zstd_parts(path)
        return
    with {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix.lower(), open)(path, "rb") as file:
        while part := file.read(2**20):
            yield part


def _zstd_parts(path: Path) -> Iterator[bytes]:
    """All frames of a file; the library's own reader takes a file that is cut off for a shorter one."""
    import zstandard  # only this format needs it

    frame = None
    with path.open("rb") as file:
        while part := file.read(4096):  # which a bomb makes 100 MB of
            while part:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(part)
                part = frame.unused_data
                frame = None if frame.eof else frame
    if frame:
        raise EOFError("it ends in the middle of a frame")


def _parquet(path: Path) -> list[str]:
    import pyarrow.parquet  # a second to import

    try:
        file = pyarrow.parquet.ParquetFile(path)
        column = next((name for name in ("text", "content") if name in file.schema_arrow.names), None)
        if column is None:
            raise CorpusError(f"{path} has no column text or content (it has "
                              f"{', '.join(file.schema_arrow.names)}); rename the one that holds the "
                              "documents.")
        texts, limit = [], max(UNPACKED, RATIO * path.stat().st_size)
        for batch in file.iter_batches(batch_size=1024, columns=[column]):
            if (limit := limit - batch.nbytes) < 0:
                raise CorpusError(f"{path} unpacks to more than {RATIO} times its size, which no text does; look at "
                                  "it before you use it.")
            texts += batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{path} is not a readable parquet file ({error}); write it again.") from error
    if any(not isinstance(text, str) for text in texts):
        raise CorpusError(f"{path}, column {column}, holds values that are not text; remove those rows.")
    return texts
