"""Merges written in mergekit's YAML: linear, slerp, task_arithmetic, ties and dare_linear, whole models.

A parameter may be one number, a list along the layers, or a list of filters; `Recipe.value` reads it as mergekit does.
`streaming` applies a recipe to folders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from unifeat.support.errors import UnifeatError

KEYS = {"merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype"}
METHODS = {  # the parameters of each
    "slerp": {"t"},
    "linear": {"weight", "normalize"},
    "task_arithmetic": {"weight", "normalize", "lambda"},
    "ties": {"weight", "density", "normalize", "lambda", "int8_mask"},
    "dare_linear": {"weight", "density", "normalize", "lambda", "rescale"},
}
FLAGS = {"normalize", "rescale", "int8_mask"}
CHANGES = ("task_arithmetic", "ties", "dare_linear")  # add changes to base_model


class RecipeError(UnifeatError):
    """A mergekit file that cannot be read, or asks for what `merging` does not do."""


@dataclass(frozen=True)
class Recipe:
    """A merge of model folders, as written in the file."""

    method: str
    models: tuple[str, ...]  # of slerp the base, where t is 0, first; of CHANGES without the base
    base: str = ""  # of CHANGES
    own: tuple[dict, ...] = ()  # parameters of each model
    shared: tuple[dict, ...] = ()  # parameters of all models, the strongest level first
    layers: int | None = None  # how many of them its layer ranges take; None if it has none

    def value(self, name: str, tensor: str, place: float, model: int | None = None, default=None):
        """The parameter `name` for a tensor at `place` (0 the first layer, 1 the last), of one model where they differ.

        A list of numbers is interpolated along the layers; of a list of filters the first counts that is "*", absent
        or part of the tensor's name. A level that says nothing of a tensor leaves it to the next.

        Raises:
            ValueError: no level says anything, and there is no default.
        """
        levels = self.shared if model is None else (self.own[model], *self.shared)
        for level in levels:
            if name in level and (found := _evaluated(level[name], tensor, place)) is not None:
                return found
        if default is None:
            raise ValueError(f"it sets no {name} for {tensor}")
        return default


def read(path: str | Path) -> Recipe:
    """The merge that the mergekit file at `path` describes.

    `dtype` and `out_dtype` are passed over: tensors keep their own dtype.

    Raises:
        RecipeError: no such file, no YAML, another method, parts of models, parameters that the method does not read or
            that are no numbers.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return _recipe(_mapping(content, "the file"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read ({' '.join(str(error).split())}); give a YAML file as "
                          "mergekit reads it.") from error
    except ValueError as error:
        raise RecipeError(f"{path} is no merge that unifeat can do: {error}.") from error


def _recipe(content: dict) -> Recipe:
    if unknown := sorted(map(str, content.keys() - KEYS)):
        raise ValueError(f"it sets {unknown[0]}, and only {', '.join(sorted(KEYS))} are known; take it out")
    method = content.get("merge_method")
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"merge_method is {method}; it must be one of {', '.join(METHODS)}")
    sources, shared = _sources(content)
    names, own = [source["model"] for source in sources], [_parameters(source, method) for source in sources]
    base, layers = content.get("base_model"), _layers(sources)
    if method in CHANGES:
        if not isinstance(base, str):
            raise ValueError(f"base_model, whose changes {method} adds, is {base}; name a folder")
        kept = [at for at, name in enumerate(names) if name != base]
        found = Recipe(method, tuple(names[at] for at in kept), base, tuple(own[at] for at in kept), shared, layers)
        if not kept:
            raise ValueError("it names no model beside base_model")
    elif method == "slerp":
        if len(names) != 2:
            raise ValueError("slerp must name exactly two models")
        if base not in names:
            raise ValueError(f"base_model, the model at t = 0, is {base}; make it one of {names[0]} and {names[1]}")
        turn = 1 if names[0] == base else -1
        found = Recipe(method, tuple(names[::turn]), "", tuple(own[::turn]), shared, layers)
    else:
        if len(names) < 2:
            raise ValueError("linear must name two models or more")
        found = Recipe(method, tuple(names), "", tuple(own), shared, layers)
    _asked(found)
    return found


def _asked(recipe: Recipe) -> None:
    """Refuse what could be of no tensor: no weight or t at all, or values that cannot be."""
    wanted = "t" if recipe.method == "slerp" else "weight"
    for model in (None,) if wanted == "t" else range(len(recipe.models)):
        if not any(wanted in level for level in (recipe.shared if model is None else
                                                 (recipe.own[model], *recipe.shared))):
            raise ValueError(f"it sets no {wanted}")
    if recipe.method == "ties" and any(number is False for number in _said(recipe, "normalize")):
        raise ValueError("it sets normalize: false, and ties is a mean; take that out")
    for name, low, high in (("t", 0, 1), ("density", 0, 1)):
        if odd := [value for value in _said(recipe, name) if not low <= value <= high]:
            raise ValueError(f"it sets {name} to {odd[0]:g}; choose one from 0 to 1")


def _said(recipe: Recipe, name: str) -> list:
    """Every number that is written for a parameter."""
    todo, out = [level[name] for level in (*recipe.own, *recipe.shared) if name in level], []
    while todo:
        value = todo.pop(0)
        if isinstance(value, list):
            todo += value
        elif isinstance(value, tuple):
            todo.append(value[1])
        else:
            out.append(value)
    return out


def _evaluated(setting, tensor: str, place: float):
    """The setting's value for a tensor; None where its filters leave the tensor out."""
    if not isinstance(setting, list):
        return setting
    if isinstance(setting[0], tuple):
        for part, value in setting:
            if part == "*" or part in tensor:
                return _evaluated(value, tensor, place)
        return None
    if isinstance(setting[0], bool):
        return setting[int(place * (len(setting) - 1))]
    at = place * (len(setting) - 1)
    low = int(at)
    return (1 - (at - low)) * setting[low] + (at - low) * setting[min(len(setting) - 1, low + 1)]


def _sources(content: dict) -> tuple[list[dict], tuple[dict, ...]]:
    """The models' entries, and the levels of common parameters, the strongest first."""
    if ("models" in content) == ("slices" in content):
        raise ValueError("it must have either models or slices")
    levels, sources = [content], content.get("models")
    if "slices" in content:
        slices = content["slices"]
        if not isinstance(slices, list) or len(slices) != 1:
            raise ValueError("it stacks several slices; merge whole models, as one slice")
        part = _mapping(slices[0], "the slice")
        if odd := part.keys() - {"sources", "parameters"}:
            raise ValueError(f"its slice sets {min(odd)}; only sources and parameters are known there")
        levels.insert(0, part)
        sources = part.get("sources")
    if not isinstance(sources, list) or not sources:
        raise ValueError("it must name its models")
    sources = [_mapping(source, "a model") for source in sources]
    ranges = [source.get("layer_range", [0, None]) for source in sources]
    if any(one != ranges[0] for one in ranges) or not isinstance(ranges[0], list) or len(ranges[0]) != 2 or (
            ranges[0][0] != 0):
        raise ValueError(f"its layer ranges are {' and '.join(map(str, ranges))}; take all layers of every model, from "
                         "0 on")
    names = [source.get("model") for source in sources]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"its models are {' and '.join(map(str, names))}; name different folders")
    return sources, tuple(_parameters(level, content.get("merge_method")) for level in levels)


def _parameters(level: dict, method: str) -> dict:
    """The parameters of a level of the file: a number, a list of numbers, or a list of (filter, either)."""
    found = _mapping(level.get("parameters", {}), "parameters")
    if odd := sorted(map(str, found.keys() - METHODS[method])):
        raise ValueError(f"it sets {odd[0]}, and {method} reads {', '.join(sorted(METHODS[method]))}")
    return {name: _setting(name, value) for name, value in found.items()}


def _setting(name: str, value, filters: bool = True):
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and filters and value and all(isinstance(one, dict) for one in value):
        return [_filtered(name, one) for one in value]
    if isinstance(value, list):
        if not value:
            raise ValueError(f"its {name} is an empty list")
        numbers = [_number(name, one) for one in value]
        return numbers if len(numbers) > 1 else numbers[0]
    return _number(name, value)


def _filtered(name: str, one: dict) -> tuple:
    """(part of a tensor's name, or *, and the setting of such tensors)."""
    part = one.get("filter") or "*"
    if odd := sorted(map(str, one.keys() - {"filter", "value"})):
        raise ValueError(f"its {name} sets {odd[0]}; only filter and value are known there")
    if not isinstance(part, str) or "value" not in one:
        raise ValueError(f"its {name} has a filter {part!r} without a value or a name")
    return part, _setting(name, one["value"], filters=False)


def _number(name: str, value) -> float | bool:
    if name in FLAGS:
        if isinstance(value, bool):
            return value
        raise ValueError(f"its {name} is {value!r}; write true or false")
    try:
        if not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"its {name} is {value!r}, which is no number")


def _layers(sources: Sequence[dict]) -> int | None:
    """The end of the layer ranges, which `_sources` has seen to be equal and to begin at 0."""
    end = sources[0].get("layer_range", [0, None])[1]
    if end is not None and (type(end) is not int or end < 1):
        raise ValueError(f"its layer ranges end at {end!r}; give the number of layers")
    return end


def _mapping(value, what: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping (key: value), not {value!r}")
    return value
