"""Merging model folders one tensor at a time: never more than one tensor of each parent is in memory.

    apply("recipe.yml", Path("merged"))

Sums are in float64; every tensor is written in the first model's dtype, in the first model's shards.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from tqdm import tqdm

from unifeat import merging
from unifeat.lm import folders, tokenizers
from unifeat.merging import mergekit, zoo
from unifeat.merging.mergekit import Recipe, RecipeError
from unifeat.support import pretrained

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*")
CODES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
TIED = ("lm_head.weight", "embed_out.weight")  # the embedding again, where a model ties the two
ALIKE = ("model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "tie_word_embeddings")
NUMBER = re.compile(r"\.(\d+)\.")


class Weights:
    """The tensors of a model folder, read when they are asked for."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        folders.check(self.folder, str(folder))
        try:
            self.config = pretrained.config(self.folder).to_dict()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecipeError(f"The config.json of {folder} cannot be read ({' '.join(str(error).split())}); save the "
                              "model again with save_pretrained.") from error
        self.open = {file: safe_open(self.folder / file, "pt") for file in folders.weights(self.folder)}
        files = {name: file for file, one in self.open.items() for name in one.offset_keys()}
        tied = TIED if self.config.get("tie_word_embeddings") else ()
        self.files = {name: file for name, file in files.items() if name not in tied}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.open[self.files[name]].get_tensor(name)

    @property
    def layers(self) -> int:
        """How many layers it has."""
        return self.config.get("num_hidden_layers") or self.config.get("n_layer") or 0


def apply(path: str | Path, folder: Path) -> Recipe:
    """Write the merge that the mergekit file at `path` describes into a new `folder`; returns the recipe.

    Models are local folders, relative ones from where the command runs, as in mergekit; configuration and tokenizer are
    the base's, or else the first model's. A killed merge leaves nothing at `folder`.

    Raises:
        RecipeError: a file that `mergekit.read` refuses, models that cannot be read or merged, whose tokenizers differ,
            or of which it takes some layers only, or a `folder` that is in use or cannot be written.
        ModelError: a folder that is no whole model with plain weights.
    """
    found, folder = mergekit.read(path), Path(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RecipeError(f"{folder} is not empty; name a new folder, so that nothing of yours is overwritten.")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as error:
        raise RecipeError(f"{folder} cannot be made ({error.strerror}); name another folder.") from error
    try:
        parents = [Weights(name) for name in ((found.base, *found.models) if found.base else found.models)]
        _check(path, found, parents)
        for other in parents[1:]:
            if not tokenizers.alike(parents[0].folder, other.folder):
                raise RecipeError(f"The models of {path} have different tokenizers; merge models that read the same "
                                  "tokens.")
        try:
            _write(found, parents, partial)
        except ValueError as error:
            raise RecipeError(f"The models of {path} cannot be merged: {error}") from error
        for pattern in ("config.json", "generation_config.json", *TOKENIZER):
            for file in sorted(parents[0].folder.glob(pattern)):
                shutil.copy(file, partial)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def _check(path, recipe: Recipe, parents: list[Weights]) -> None:
    first = parents[0]
    if recipe.layers not in (None, first.layers):
        raise RecipeError(f"{path} takes {recipe.layers} of {first.layers} layers, and unifeat merges whole models; "
                          f"write layer_range: [0, {first.layers}].")
    for other in parents[1:]:
        for key in ALIKE:
            if first.config.get(key) != other.config.get(key):
                raise RecipeError(f"The models of {path} cannot be merged: {key} is {first.config.get(key)} in "
                                  f"{first.folder} and {other.config.get(key)} in {other.folder}.")
        if odd := sorted(first.files.keys() ^ other.files.keys()):
            raise RecipeError(f"The models of {path} cannot be merged: only one of two has the tensor {odd[0]}.")


def _write(recipe: Recipe, parents: list[Weights], folder: Path) -> None:
    """The merged tensors, in the first parent's shards."""
    first, shards = parents[0], {}
    for name, file in first.files.items():
        shards.setdefault(file, []).append(name)
    with tqdm(total=len(first.files), desc="merging", unit="tensor", delay=5) as bar:
        for file, names in shards.items():
            write(folder / file, {name: first.open[file].get_slice(name) for name in names},
                  lambda name: merged(recipe, name, [one[name] for one in parents], first.layers), bar)
    if len(shards) > 1:
        size = sum((folder / file).stat().st_size for file in shards)
        (folder / "model.safetensors.index.json").write_text(json.dumps(
            dict(metadata=dict(total_size=size), weight_map=first.files), indent=2), encoding="utf-8")


def write(path: Path, like: dict, tensor, bar=None) -> None:
    """A safetensors file of tensors that are made one after another: tensor(name) for every name of `like`, in its
    order, with the dtype and shape of like[name].

    The format (huggingface/safetensors, README): the length of the header in 8 bytes, little-endian; the header in
    JSON, padded with spaces to a multiple of 8; all bytes.
    """
    header, at = {"__metadata__": {"format": "pt"}}, 0
    sizes = {code: torch.empty((), dtype=dtype).element_size() for dtype, code in CODES.items()}
    for name, one in like.items():
        count = 1
        for length in one.get_shape():
            count *= length
        if (code := one.get_dtype()) not in sizes:
            raise ValueError(f"Tensor {name} is stored as {code}; convert the model to float16, bfloat16 or float32.")
        header[name] = dict(dtype=code, shape=list(one.get_shape()), data_offsets=[at, at + count * sizes[code]])
        at += count * sizes[code]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in like:
            made = tensor(name)
            file.write(made.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            if bar is not None:
                bar.update()


def merged(recipe: Recipe, name: str, tensors: list[torch.Tensor], layers: int) -> torch.Tensor:
    """One tensor of a merge, in the first one's dtype; tensors: of the base, where there is one, and of every model.

    Raises:
        ValueError: tensors that cannot be merged, or a parameter that is not set for this one.
    """
    found = NUMBER.search(name)
    place = 0.0 if found is None else int(found[1]) / (layers - 1) if layers > 1 else 1.0  # as mergekit
    if not tensors[0].is_floating_point():
        return tensors[0]
    states = [{name: one.double()} for one in tensors]

    def value(parameter, model=None, default=None):
        return recipe.value(parameter, name, place, model, default)

    if recipe.method == "slerp":
        out = merging.between(merging.slerp, *states, value("t"))[name]
    elif recipe.method == "linear":
        weights = [value("weight", n) for n in range(len(states))]
        out = zoo.linear(states, weights)[name] * (1 if value("normalize", default=True) else sum(weights))
    else:
        out = _changed(recipe, name, states, value)
    return out.to(tensors[0].dtype)


def _changed(recipe: Recipe, name: str, states: list[dict], value) -> torch.Tensor:
    """Methods that add changes to a base. Each model has its own density, so changes are thinned out here."""
    (base, *others), scale = states, value("lambda", default=1.0)
    weights = [value("weight", n) for n in range(len(others))]
    thin = []
    for n, other in enumerate(others):
        if other[name].shape != base[name].shape:
            break  # which the zoo says in its words
        delta, density = other[name] - base[name], value("density", n, 1.0)
        if recipe.method == "ties" and density < 1:
            delta = zoo.trimmed(delta, density) if density else torch.zeros_like(delta)
        elif recipe.method == "dare_linear" and density < 1:
            kept = torch.rand(delta.shape, generator=_drawn(name, n), dtype=torch.float64) < density
            delta = delta * kept / (density if density and value("rescale", default=True) else 1)
        thin.append({name: base[name] + delta})
    thin = thin if len(thin) == len(others) else others
    if recipe.method == "ties":
        return zoo.ties(base, thin, weights, 1.0, scale)[name]
    if value("normalize", default=False):
        total = sum(weights)
        scale /= total if abs(total) >= 1e-8 else 1
    return zoo.task_arithmetic(base, thin, weights, scale)[name]


def _drawn(name: str, model: int) -> torch.Generator:
    """The random numbers of a tensor's mask: the same in every run, others for every tensor and model."""
    seed = int.from_bytes(hashlib.sha256(f"{name} {model}".encode()).digest()[:7], "little")
    return torch.Generator().manual_seed(seed)


