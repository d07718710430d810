"""Lineages from TOML files: extended, given models and text put in, checked.

A lineage is a TOML file, or one of those that come with the package (`profiles/<name>.toml`). It extends another and
states what differs.

    >>> small = read("smoke")
    >>> small.names, small.edges[0], small.model.d_mlp
    (('base', 'lua', 'stories', 'merged'), ('base', 'lua'), 128)
    >>> read("smoke", **{"sae.k": 4}).sae.k, small.mix("merged")
    (4, (('lua', 'stories'), (1.0, 1.0)))
"""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unifeat.lineage import published
from unifeat.lineage.checks import check, named
from unifeat.lineage.complaints import OURS, fields, sentence, shown, unknown
from unifeat.lineage.lineage import Lineage
from unifeat.lineage.settings import PACKAGE, SOURCES, WAYS, LineageError, Member, Text
from unifeat.support.errors import reason

FOLDER = published.FOLDER
FRAGMENT = "horn_elliott"  # the paper's models and domains, which the profiles extend
PARTS = (FRAGMENT, "track", "track_quick")  # no lineages on their own: `unifeat track` puts its models into the latter


def shipped() -> list[str]:
    """Names of the lineages that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem not in PARTS)


def choose(name: str, corpora: str = "", hook: str = "", models: str = "") -> Lineage:
    """Lineage `name` on `corpora`: "" (its own text), a source, or a folder of text.

    hook: the hook point that the SAEs read, "" for the lineage's own; models: "" or given models in place of its own,
    "name=folder,name=folder,...": the first is the parent of the others, but of one written name:parent=folder.
    Of a folder, each subfolder and file is a domain where models are given or the lineage's domains are not all there.

    Raises:
        LineageError: as in `read`, or `corpora` is neither a source nor a folder, or `models` has another form.
    """
    changes = {"sae.hook": hook} if hook else {}
    if not corpora or corpora in SOURCES:
        found = read(name, **changes, **({"corpora.source": corpora} if corpora else {}))
        if corpora:
            found = replace(found, text={key: replace(one, source=corpora) for key, one in found.text.items()})
        return _given(found, models) if models else found
    folder = Path(corpora).expanduser().resolve()
    if not folder.is_dir():
        raise LineageError(f"CORPORA={corpora} is neither a source nor a folder; give one of {', '.join(SOURCES)}, or "
                           "the folder that holds your text.")
    found = read(name, **changes, **{"corpora.source": "files", "corpora.folder": str(folder)})
    if models:
        domains = _domains(folder)
        found = replace(found, text={key: Text(source="files", path=str(path)) for key, path in domains.items()})
        return _given(found, models)
    return replace(found, text={key: replace(one, source="files", path="") for key, one in found.text.items()})


def _domains(folder: Path) -> dict[str, Path]:
    """The subfolders and files of a folder of text, by name without ending; hidden ones are left out."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = {re.sub(r"\.(jsonl|txt|parquet)$", "", path.name): path for path in paths
             if path.is_dir() or path.suffix in (".jsonl", ".txt", ".parquet")}
    if not found:
        raise LineageError(f"{folder} holds no text; give a folder with one subfolder or file (.txt, .jsonl) per "
                           "domain.")
    for name in found:
        named("domain", name, folder.name)
    return found


def _given(lineage: Lineage, text: str) -> Lineage:
    """The lineage with given models in place of its own; each one's SAEs read all domains."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    members, names = {}, []
    for item in items:
        name, equals, folder = item.partition("=")
        name, _, parent = name.partition(":")
        if not equals or not folder or name in members or (parent and parent not in members):
            raise LineageError(f"MODELS={text} must list models as name=folder,name=folder, each name once; the "
                               f"first is "
                               "the parent of the others, and name:parent=folder names another one before it.")
        parent = parent or (names[0] if names else "")
        members[name] = Member(given=str(_path(folder, Path.cwd())), parent=parent)
        names.append(name)
    if not members:
        raise LineageError(f"MODELS={text} names no model; write name=folder,name=folder.")
    found = replace(lineage, models=members, compare=(), published=None, shipped=False)
    check(found)
    return found


def read(name: str | Path, **overrides) -> Lineage:
    """Lineage `name` (one that comes with the package, or a path to a .toml file), with overrides by dotted key.

    Raises:
        LineageError: unknown lineage; `extends` of a missing file or in a circle; missing or unknown key, wrong type or
            a value out of range; a model made in no way or two, an unknown parent, a circle of parents.
    """
    path = Path(_path(str(name), Path.cwd())) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if not _is_file(path):
        raise LineageError(f"Lineage {shown(str(name))} does not exist; choose one of {', '.join(shipped())}, "
                           "or give the path of a .toml file.")
    table = _extended(path, ())
    for key, value in overrides.items():
        *sections, last = key.split(".")
        inside = table
        for section in sections:
            inside = inside.get(section) if isinstance(inside, dict) else None
        if not sections or not isinstance(inside, dict) or last not in inside:
            raise LineageError(f"Override {key!r} names no setting of lineage {path.stem}; use section.key, as in "
                               f"sae.k.")
        inside[last] = value
    found = _validated(_filled(table, path.stem), path.stem)
    found = replace(found, shipped=path.parent == FOLDER and not set(overrides) - {"corpora.source"})
    check(found)
    return found


def _extended(path: Path, seen: tuple[Path, ...]) -> dict:
    """The table in `path` laid over the one that it extends."""
    if path.resolve() in seen:
        raise LineageError(f"{seen[-1].name} extends {path.name}, which extends it in turn; break the circle of "
                           f"extends.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of huge numbers and deep lists
        raise LineageError(f"Lineage {path.name} is not valid TOML ({error}); correct that line.") from error
    except OSError as error:
        raise LineageError(f"Lineage {path.name} cannot be read ({error.strerror}); see to its permissions.") from error
    for section in ("models", "text"):  # paths are meant from where the file lies
        for one in table.get(section, {}).values() if isinstance(table.get(section), dict) else ():
            key = "given" if section == "models" else "path"
            if isinstance(one, dict) and isinstance(one.get(key), str) and one[key]:
                one[key] = str(_path(one[key], path.parent, keep=section == "models"))
            if isinstance(one, dict) and isinstance(one.get("published_sweep"), str) and one["published_sweep"]:
                one["published_sweep"] = _beside(one["published_sweep"], path.parent)
    corpora = table.get("corpora")
    if isinstance(corpora, dict) and isinstance(corpora.get("folder"), str) and corpora["folder"]:
        corpora["folder"] = str(_path(corpora["folder"], path.parent))
    parent = table.pop("extends", None)
    if parent is None:
        return table
    below = path.parent / str(parent) if str(parent).endswith(".toml") else FOLDER / f"{parent}.toml"
    if not _is_file(below):
        raise LineageError(f"{path.name} extends {shown(parent)}, which does not exist; name one of "
                           f"{', '.join(shipped())}, or a .toml file beside it.")
    return _laid(_extended(below, (*seen, path.resolve())), table)


def _path(text: str, folder: Path, keep: bool = False) -> Path | str:
    """A path as seen from `folder`; with `keep`, what does not exist there and may be a hub name stays as it is."""
    if keep and text.startswith(PACKAGE):
        return text
    try:
        path = (folder / Path(text).expanduser()).resolve()
        return text if keep and not path.exists() and re.fullmatch(r"\w[\w.-]*/[\w.-]+", text) else path
    except (OSError, RuntimeError, ValueError) as error:  # too long, of an unknown user, with a NUL
        why = getattr(error, "strerror", None) or reason(error).rstrip(".")
        raise LineageError(f"{shown(text)} cannot be a path ({why}); correct it in the lineage.") from error


def _beside(text: str, folder: Path) -> str:
    """A published sweep as seen from `folder`; one that comes with the package keeps its bare name."""
    path = _path(text, folder)
    return text if folder == FOLDER or not _is_file(path) and _is_file(FOLDER / text) else str(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the disk
        return False


def _laid(below: dict, above: dict) -> dict:
    """Settings of `above` over those of `below`. Models and domains are those of `above`, if it names any; one that
    `below` names too keeps what `above` does not say of it, unless `above` makes it in another way."""
    out = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if key in ("models", "text") and isinstance(value, dict) and isinstance(old, dict):
            out[key] = {name: _over(old.get(name, {}), one) for name, one in value.items()}
        else:
            out[key] = _over(old, value)
    for key in ("compare", "published") if "models" in above else ():  # they were said of the models below
        if key not in above:
            out.pop(key, None)
    return out


def _over(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if (stated := set(WAYS) & new.keys()) and not stated & old.keys():
        old = {}  # it is another model
    if any(key in new and new[key] != old.get(key) for key in ("merge", "parents")):  # of which nothing was published
        old = {key: value for key, value in old.items() if not key.startswith("published_")}
    return old | {key: _over(old.get(key), value) for key, value in new.items()}


def _filled(table: dict, where: str) -> dict:
    """The table with the defaults of [train] and [finetune] in each model that is trained, equal weights, and in
    [published] what it does not say, from [sae]."""
    table, defaults = dict(table), {}
    for way in ("train", "finetune"):
        defaults[way] = table.pop(way, {})
        if not isinstance(defaults[way], dict):
            raise LineageError(f"{where}.{way} must be a table of settings, not {shown(defaults[way])}.")
        for key in defaults[way].keys() - set(fields([way])):
            raise LineageError(unknown([way, key], where))
    if isinstance(table.get("published"), dict) and isinstance(table.get("sae"), dict):
        table["published"] = table["sae"] | table["published"]
    if isinstance(table.get("models"), dict):
        members = {}
        for name, one in table["models"].items():
            if isinstance(one, dict):
                one = dict(one)
                for way in ("train", "finetune"):
                    if isinstance(one.get(way), dict):
                        one[way] = defaults[way] | one[way]
                        text = one[way].get("text")
                        if isinstance(text, list) and not one[way].get("weights"):
                            one[way]["weights"] = [1.0] * len(text)
            members[name] = one
        table["models"] = members
    return table


def _validated(table: dict, where: str) -> Lineage:
    for key in OURS:
        if key in table:
            raise LineageError(unknown([key], where))
    try:
        return _ADAPTER.validate_json(json.dumps({**table, "name": where}, default=str))
    except ValidationError as error:
        raise LineageError(sentence(error.errors(), where)) from error
    except (ValueError, RecursionError) as error:
        raise LineageError(f"Lineage {where} holds a value that cannot be read ({error}); correct it.") from error


_ADAPTER = TypeAdapter(Lineage)
