"""The text of a track: a folder or file of any size, into a few megabytes of documents per domain."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from unifeat.support import code, store
from unifeat.support.errors import reason
from unifeat.text import files
from unifeat.text.files import CorpusError
from unifeat.track.inputs import TrackError, slug

MOST = 300_000_000  # bytes of one file: it is read whole
ENOUGH = 3  # times the bytes that are kept are read, since near-duplicates and short documents go
FEW = 60  # documents; long ones of a domain with fewer are cut into pieces
PIECE = 3000  # characters
DOMAINS = 8


@dataclass(frozen=True)
class Texts:
    """Documents of every domain, as a file in the store: {domain: its path}; what they are called; what was done."""

    paths: dict[str, Path]
    labels: dict[str, str]
    cut: tuple[str, ...]  # labels of the domains whose documents are pieces of longer ones
    where: str
    bytes: int


def gather(where: str, root: Path, keep: int) -> Texts:
    """The text at `where`, as much as a track needs: about `keep` bytes per domain, kept in the store `root`.

    A folder that holds only subfolders gives a domain of each; any other folder or a file is one domain. Of a large
    folder some files are read, the same every time.

    Raises:
        TrackError: nothing there that can be read, too many domains, or a file that is too large.
        CorpusError: a file that is damaged, binary or not UTF-8.
    """
    path = Path(where).expanduser()
    try:
        found = {label: _some(paths, keep * ENOUGH) for label, paths in _domains(path.resolve()).items()}
        hashes = {label: [store.sha256(one) for one in paths] for label, paths in found.items()}
    except (OSError, ValueError, RuntimeError) as error:
        raise TrackError(f"--text {where} cannot be read ({reason(error)}); see to its permissions.") from error
    names = _names(found)

    def build(folder):
        facts = {}
        for label, paths in found.items():
            documents, cut = _documents(paths, keep * ENOUGH)
            lines = "".join(json.dumps(dict(text=text)) + "\n" for text in documents)
            (folder / f"{names[label]}.jsonl").write_text(lines, encoding="utf-8")
            facts[label] = dict(cut=cut, bytes=sum(len(text.encode()) for text in documents))
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    made = store.make(root, "track-text", build, config=[names, hashes, keep], code=code.version(build))
    facts = json.loads((made.folder / "facts.json").read_text(encoding="utf-8"))
    return Texts({name: made.folder / f"{name}.jsonl" for name in names.values()},
                 {name: label for label, name in names.items()}, tuple(label for label in facts if facts[label]["cut"]),
                 str(where), sum(one["bytes"] for one in facts.values()))


def _domains(path: Path) -> dict[str, list[Path]]:
    """Files by domain, whose label is the name of its folder or file."""
    if path.is_file():
        return {path.name: [path]}
    if not path.is_dir():
        raise TrackError(f"--text {path} does not exist; give a folder of text or a file.")
    loose = [one for one in path.iterdir() if one.is_file() and one.name.lower().endswith(files.FORMATS)
             and one.name[0] != "."]
    inside = {} if loose else {one.name: files.walk(one) for one in sorted(path.iterdir()) if one.is_dir()
                               and one.name[0] != "."}
    inside = {label: paths for label, paths in inside.items() if paths} or {path.name: files.walk(path)}
    if not any(inside.values()):
        raise TrackError(f"--text {path} holds no text that can be read ({', '.join(files.FORMATS)}); give a folder or "
                         "file of text.")
    if len(inside) > DOMAINS:
        raise TrackError(f"--text {path} has {len(inside)} subfolders, each a domain of its own, and a track takes "
                         f"{DOMAINS}; give one of them, or put the files into one folder.")
    return inside


def _some(paths: list[Path], limit: int) -> list[Path]:
    """As many files as hold `limit` bytes, in the order of their names' hashes."""
    chosen, total = [], 0
    for path in sorted(paths, key=lambda one: hashlib.blake2b(one.name.encode("utf-8", "surrogateescape")).digest()):
        if total >= limit:
            break
        if (size := path.stat().st_size) > MOST:
            raise TrackError(f"{path} has {size / 1e6:,.0f} MB, more than the {MOST / 1e6:.0f} MB of one file that a "
                             "track reads, and it needs a few only; give the first part of it.")
        chosen.append(path)
        total += size
    return sorted(chosen)


def _names(labels) -> dict[str, str]:
    """A name fit for files for each label, all different."""
    names = {}
    for label in labels:
        name = slug(label.removesuffix(".gz").removesuffix(".xz").removesuffix(".zst").rsplit(".", 1)[0])
        names[label] = f"text-{name}" + ("" if f"text-{name}" not in names.values() else f"-{len(names)}")
    return names


def _documents(paths: list[Path], limit: int) -> tuple[list[str], bool]:
    """Documents of some files, evenly thinned to about `limit` bytes, and whether long ones were cut into pieces."""
    documents = [text for path in paths for text in files.read(path)]
    size = sum(len(text) for text in documents)
    if size > limit and len(documents) > FEW:
        documents = documents[::-(-size // limit)]
    if not any(text.strip() for text in documents):
        raise CorpusError(f"{paths[0] if len(paths) == 1 else paths[0].parent} is empty; give text to compare features "
                          "on.")
    cut = len(documents) < FEW and any(len(text) > 1.5 * PIECE for text in documents)
    if cut:
        documents = [piece for text in documents for piece in pieces(text[:limit])]
    return documents, cut


def pieces(text: str, size: int = PIECE) -> list[str]:
    r"""A long text in pieces of at most `size` characters, cut between paragraphs, lines, sentences or words.

    >>> pieces("one two\nthree four", 12), "".join(pieces("x" * 50, 12)) == "x" * 50
    (['one two\n', 'three four'], True)
    """
    out, start = [], 0
    while len(text) - start > size:
        end = start + size
        for mark in ("\n\n", "\n", ". ", " "):
            if (at := text.rfind(mark, start + size // 2, end)) >= 0:
                end = at + len(mark)
                break
        out.append(text[start:end])
        start = end
    return [*out, text[start:]]
