"""What is wrong with a lineage's file, in the file's own words: one sentence for each of pydantic's errors."""

import dataclasses
import difflib

from unifeat.lineage.lineage import Lineage
from unifeat.lineage.settings import (
    Checkpoint,
    Comparison,
    Controls,
    Corpora,
    Evaluation,
    Hub,
    Member,
    Merge,
    Model,
    Perturbed,
    Sae,
    Studies,
    Text,
    Training,
    Untrained,
)

OURS = ("name", "shipped")  # fields of a Lineage that no file states
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")  # an unknown key
SECTIONS = {"model": Model, "merge": Merge, "corpora": Corpora, "evaluation": Evaluation, "sae": Sae,
            "comparison": Comparison, "controls": Controls, "studies": Studies, "train": Training, "finetune": Training}
INSIDE = {"models": Member, "text": Text, "train": Training, "finetune": Training, "hub": Hub,
          "checkpoint": Checkpoint, "untrained": Untrained, "perturbed": Perturbed}
WANTED = {"int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
          "string_type": "a text", "tuple_type": "a list", "bool_type": "true or false", "dict_type": "a table",
          "dataclass_type": "a table of settings", "dataclass_exact_type": "a table of settings",
          "finite_number": "a finite number"}


def shown(value) -> str:
    """A value as a sentence quotes it: cut where it is long.

    >>> shown("a b"), len(shown(10**400))
    ("'a b'", 60)
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown(loc: list[str], where: str) -> str:
    """The sentence for an unknown setting, with the nearest known one."""
    known = fields(loc[:-1])
    near = difflib.get_close_matches(loc[-1], known, 1)
    hint = f"the nearest it knows is {near[0]!r}" if near else f"it knows {', '.join(known)}"
    return f"{'.'.join([where, *loc[:-1]])} has no setting {shown(loc[-1])}; {hint}."


def sentence(errors: list[dict], where: str) -> str:
    """The sentence for pydantic's first error; an unknown key explains a missing one."""
    error = min(errors, key=lambda one: one["type"] not in UNKNOWN)
    loc = [str(part) for part in error["loc"]]
    if error["type"] in UNKNOWN:
        return unknown(loc, where)
    if loc[0] == "compare":
        return f'{where}.compare must be a list of pairs of models, as in [["a", "b"]].'
    if error["type"].startswith("missing"):
        return f"{'.'.join([where, *loc[:-1]])} lacks the setting {loc[-1]!r}; add it to the lineage."
    loc = [part for part in loc if part not in ("float", "str", "Training", "Hub")]  # the arms of a union
    want = WANTED.get(error["type"]) or error["msg"].removeprefix("Input should be ").rstrip(".")
    return f"{'.'.join([where, *loc])} must be {want}, not {shown(error['input'])}."


def fields(loc: list[str]) -> list[str]:
    """Settings that the table at `loc` knows."""
    if not loc:
        return [*(one.name for one in dataclasses.fields(Lineage) if one.name not in OURS), "extends", "train",
                "finetune"]
    found = SECTIONS.get(loc[0]) if len(loc) == 1 else INSIDE.get(loc[-1], INSIDE.get(loc[0]))
    return [one.name for one in dataclasses.fields(found)] if found else []
