"""What the user gave: models or SAEs, by which names they are shown, and whether they can be compared at all."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from unifeat.support.errors import UnifeatError, reason

HUB = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHTS = ("sae.safetensors", "sae_weights.safetensors", "ae.pt")  # one of them makes a folder an SAE


class TrackError(UnifeatError):
    """Two things that cannot be compared, or not as asked."""


@dataclass(frozen=True)
class Thing:
    """A model or an SAE as it was given: `where` is a folder, or the name of a model on the hub."""

    kind: str  # model | sae
    where: str
    label: str = ""  # as it is shown


def thing(text: str, role: str) -> Thing:
    """What `text` names; role: the argument it was given as, for messages.

    Raises:
        TrackError: neither a folder with a model or an SAE nor a hub name, or a folder that cannot be looked into.
    """
    path = Path(text).expanduser()
    try:
        path = path.resolve()
        if path.is_dir():
            return Thing(_kind(path, role), str(path))
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise TrackError(f"{role}={text!r} cannot be read ({reason(error)}); give the folder of a model or an "
                         "SAE.") from error
    if exists:
        raise TrackError(f"{role}={text} is a file; give the folder that holds the model or the SAE.")
    if HUB.fullmatch(text):
        return Thing("model", text)
    raise TrackError(f"{role}={text} does not exist; give the folder of a model in Hugging Face layout or of an SAE, "
                     "or a model's name on the hub as owner/name.")


def _kind(folder: Path, role: str) -> str:
    if any((folder / name).is_file() for name in WEIGHTS):
        return "sae"
    if (folder / "config.json").is_file():
        return "model"
    inside = sorted({path.parent.name for name in WEIGHTS for path in folder.glob(f"*/{name}")})
    if inside:
        raise TrackError(f"{role}={folder} holds several SAEs ({', '.join(inside[:4])}); name one of them"
                         + (", and another as its twin." if len(inside) > 1 else "."))
    raise TrackError(f"{role}={folder} holds neither a model (config.json and safetensors) nor an SAE "
                     f"({', '.join(WEIGHTS)}); give a folder that does.")


def both(a: str, b: str) -> tuple[Thing, Thing]:
    """A and B, with labels that tell them apart.

    Raises:
        TrackError: as `thing`, or one is a model and the other an SAE.
    """
    one, other = thing(a, "A"), thing(b, "B")
    if one.kind != other.kind:
        words = {"model": "a model", "sae": "an SAE"}
        raise TrackError(f"A={a} is {words[one.kind]} and B={b} {words[other.kind]}; give two models, or two SAEs.")
    first, second = labels(*(os.path.abspath(Path(text).expanduser()) for text in (a, b)))  # links by their own names
    return Thing(one.kind, one.where, first), Thing(other.kind, other.where, second)


def labels(a: str, b: str) -> tuple[str, str]:
    """Short names of two places: the last parts of their paths, as many as tell them apart.

    What is no character that can be printed is written as �.

    >>> labels("/m/base", "/m/tuned"), labels("/m/base/model", "/m/tuned/model"), labels("/m/x", "/m/x")
    (('base', 'tuned'), ('base/model', 'tuned/model'), ('x', 'x (again)'))
    """
    first, second = ([_printed(part) for part in Path(text).parts] for text in (a, b))
    for depth in range(1, max(len(first), len(second)) + 1):
        left, right = "/".join(first[-depth:]), "/".join(second[-depth:])
        if left != right:
            return left, right
    return first[-1], f"{first[-1]} (again)"


def _printed(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)


def slug(text: str, longest: int = 30) -> str:
    """A name for files out of any text.

    >>> slug("my model/ü (1)"), slug("💥")
    ('my-model-1', 'x')
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-._")[:longest].strip("-._") or "x"
