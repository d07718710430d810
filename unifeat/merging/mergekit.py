"""Merges written in mergekit's YAML, as far as `merging` can do them: two models, one t for all tensors."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from unifeat.support.errors import UnifeatError

KEYS = {"merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype"}
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*")


class RecipeError(UnifeatError):
    """A mergekit file that cannot be read, or asks for what `merging` does not do."""


@dataclass(frozen=True)
class Recipe:
    """A merge of two models: `getattr(merging, method)(a, b, t)` on their state dicts."""

    method: str  # slerp | lerp
    t: float  # 0 is the first model
    models: tuple[str, str]  # folders, as written in the file
    layers: int | None = None  # how many of them its layer ranges take; None if it has none


def read(path: str | Path) -> Recipe:
    """The merge that the mergekit file at `path` describes: merge_method slerp (parameter t) or linear (weight).

    `dtype` and `out_dtype` are passed over: tensors keep their own dtype.

    Raises:
        RecipeError: no such file, no YAML, another method, more than two models, parts of models, or parameters that
            differ between layers or tensors.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return _recipe(_mapping(content, "the file"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read ({' '.join(str(error).split())}); give a YAML file as "
                          "mergekit reads it.") from error
    except ValueError as error:
        raise RecipeError(f"{path} is no merge that unifeat can do: {error}.") from error


def apply(path: str | Path, folder: Path) -> Recipe:
    """Write the merge that the mergekit file at `path` describes, in float32, into a new `folder`; returns the recipe.

    Models are local folders, relative ones from where the command runs, as in mergekit; the tokenizer is the first's.

    Raises:
        RecipeError: a file that `read` refuses, models that cannot be merged, whose tokenizers differ, or of which it
            takes some layers only, or a `folder` that is in use or cannot be written.
        ModelError: a model that cannot be loaded.
    """
    from unifeat import lm, merging
    from unifeat.lm import tokenizers

    found, folder = read(path), Path(folder)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RecipeError(f"{folder} is not empty; name a new folder, so that nothing of yours is overwritten.")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{folder} cannot be made ({error.strerror}); name another folder.") from error
    model, other = map(lm.load, found.models)
    whole = lm.describe(model)["layers"]
    if found.layers not in (None, whole):
        raise RecipeError(f"{path} takes {found.layers} of {whole} layers, and unifeat merges whole models; write "
                          f"layer_range: [0, {whole}].")
    if not tokenizers.alike(*map(Path, found.models)):
        raise RecipeError(f"The models of {path} have different tokenizers; merge models that read the same tokens.")
    try:
        model.load_state_dict(merging.between(getattr(merging, found.method), model.state_dict(), other.state_dict(),
                                              found.t))
    except ValueError as error:
        raise RecipeError(f"The models of {path} cannot be merged: {error}") from error
    model.generation_config = type(model.generation_config).from_model_config(model.config)
    model.save_pretrained(folder)
    for pattern in TOKENIZER:
        for file in sorted(Path(found.models[0]).glob(pattern)):
            shutil.copy(file, folder)
    return found


def _recipe(content: dict) -> Recipe:
    if unknown := sorted(map(str, content.keys() - KEYS)):
        raise ValueError(f"it sets {unknown[0]}, and only {', '.join(sorted(KEYS))} are known; take it out")
    sources, settings = _sources(content)
    names = [source["model"] for source in sources]
    method = content.get("merge_method")
    if method == "slerp":
        base = content.get("base_model")
        if base not in names:
            raise ValueError(f"base_model, the model at t = 0, is {base}; make it one of {names[0]} and {names[1]}")
        t = _number("t", settings)
        return _checked("slerp", t, names if names[0] == base else names[::-1], _layers(sources))
    if method == "linear":
        a, b = (_number("weight", [_mapping(source.get("parameters", {}), "parameters"), *settings])
                for source in sources)
        normalize = next((level["normalize"] for level in settings if "normalize" in level), True)
        total = a + b
        if total == 0 or not (normalize or math.isclose(total, 1)):
            raise ValueError(f"its weights add up to {total:g}; make that 1")
        return _checked("lerp", b / total, names, _layers(sources))
    raise ValueError(f"merge_method is {method}; it must be slerp or linear")


def _layers(sources: list[dict]) -> int | None:
    """The end of the layer ranges, which `_sources` has seen to be equal and to begin at 0."""
    end = sources[0].get("layer_range", [0, None])[1]
    if end is not None and (type(end) is not int or end < 1):
        raise ValueError(f"its layer ranges end at {end!r}; give the number of layers")
    return end


def _checked(method: str, t: float, names: list[str], layers: int | None) -> Recipe:
    if not 0 <= t <= 1:
        raise ValueError(f"it puts the merge at t = {t:g}; choose parameters that put it inside [0, 1]")
    return Recipe(method, t, tuple(names), layers)


def _sources(content: dict) -> tuple[list[dict], list[dict]]:
    """The two models' entries, and the levels of common parameters, the strongest first."""
    if ("models" in content) == ("slices" in content):
        raise ValueError("it must have either models or slices")
    levels = [_mapping(content.get("parameters", {}), "parameters")]
    sources = content.get("models")
    if "slices" in content:
        slices = content["slices"]
        if not isinstance(slices, list) or len(slices) != 1:
            raise ValueError("it stacks several slices; merge whole models, as one slice")
        part = _mapping(slices[0], "the slice")
        if odd := part.keys() - {"sources", "parameters"}:
            raise ValueError(f"its slice sets {min(odd)}; only sources and parameters are known there")
        levels.insert(0, _mapping(part.get("parameters", {}), "parameters"))
        sources = part.get("sources")
    if not isinstance(sources, list) or len(sources) != 2:
        raise ValueError("it must name exactly two models")
    sources = [_mapping(source, "a model") for source in sources]
    ranges = [source.get("layer_range", [0, None]) for source in sources]
    if ranges[0] != ranges[1] or not isinstance(ranges[0], list) or len(ranges[0]) != 2 or ranges[0][0] != 0:
        raise ValueError(f"its layer ranges are {ranges[0]} and {ranges[1]}; take all layers of both models, from 0 on")
    names = [source.get("model") for source in sources]
    if not all(isinstance(name, str) for name in names) or names[0] == names[1]:
        raise ValueError(f"its models are {names[0]} and {names[1]}; name two different folders")
    return sources, levels


def _mapping(value, what: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping (key: value), not {value!r}")
    return value


def _number(name: str, levels: list[dict]) -> float:
    """The parameter from the first level that sets it, if it is one number for all layers and tensors."""
    value = next((level[name] for level in levels if name in level), None)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and value.get("filter", "*") == "*":
        value = value.get("value")
    if value is None:
        raise ValueError(f"it sets no {name}")
    if isinstance(value, (list, dict)):
        raise ValueError(f"its {name} differs between layers or tensors; give one number")
    try:
        if not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    except ValueError:
        pass
    raise ValueError(f"its {name} is {value!r}, which is no number")
