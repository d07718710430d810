"""Language models that are given instead of trained: folders in Hugging Face layout, or the authors' own checkpoints.

    ownmodels.choose("base=path,lua=path")   # a base and its children; "path,path" by position; "released" from the hub

All modules take token 0 for the one that opens a document. A given model is therefore kept renumbered: the token that
opens its documents and token 0 change places, in its embeddings and in its tokenizer, and nothing else does.
"""

import dataclasses
import functools
import json
import os
import tempfile
from pathlib import Path

import torch

from unifeat import lm, merging
from unifeat.lineage import given_tokenizers
from unifeat.lineage.given_tokenizers import ModelsError
from unifeat.lineage.settings import MODELS, Profile
from unifeat.support import import_lock, store
from unifeat.support.errors import reason
from unifeat.text import hub

# The authors' checkpoints: name and commit on the hub. Each is the one that added the paper's name to the model's card,
# months after the weights; the hub's pages that we could read give only seven digits of the merge's.
RELEASED = {
    "base": ("nilq/baby-python-mistral-1L-tiny-base", "9a8012572785e67f8508859a94b62a9400257e7d"),
    "lua": ("nilq/baby-python-mistral-1L-tiny-lua-ft", "0cc4ade256df3a58384eade37e46df64d686e495"),
    "stories": ("nilq/baby-python-mistral-1L-tiny-TinyStories-ft", "41d2718913bb297946851a616e8bbb560d987150"),
    "merged": ("nilq/baby-python-1L-mistral-lua-stories-slerp", "a0b1aea"),
}
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # one of them makes a tokenizer
FILES = ("*.json", "*.safetensors", "tokenizer.model", "merges.txt")  # all that is ever read of a model's folder


# Which models -------------------------------------------------------------------------------------

def choose(text: str, downloads: Path | None = None) -> dict[str, Path]:
    """Folders by role (base, lua, stories, merged) that `text` names; the base is always among them. "" names none.

    text: "base=path,lua=path,..."; "path,path,..." in the order of the roles; "released", the authors' four checkpoints
    from the hub, kept in `downloads`; or "released=folder", the same in a local folder, laid out as on the hub.

    Raises:
        ModelsError: another form, a missing folder or file, no network, or models that differ in architecture, sizes or
            tokenizer.
    """
    kind, _, folder = text.partition("=")
    if not text:
        return {}
    if kind == "released":
        folders = {role: _local(role, folder) if folder else _fetched(role, downloads) for role in MODELS}
    else:
        folders = _named(text)
    for role, path in folders.items():
        _complete(role, path)
        _alike(role, path, folders["base"])
    if kind == "released" and (found := _config(folders["base"]).model_type) != "mistral":
        raise ModelsError(f"The authors' models are of the architecture mistral, and {folders['base']} is {found}; "
                          "give models of your own as MODELS=base=folder,lua=folder.")
    return folders


def resolved(text: str, folders: dict[str, Path]) -> str:
    """`text` for another process in another folder: absolute, and what was fetched is not asked for again."""
    if text.partition("=")[0] == "released":
        return f"released={folders['base'].parents[len(Path(RELEASED['base'][0]).parts) - 1]}"
    return ",".join(f"{role}={path}" for role, path in folders.items())


def _named(text: str) -> dict[str, Path]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    roles = [item.partition("=")[0] if "=" in item else "" for item in items]
    if not any(roles):
        roles, items = MODELS[:len(items)], [f"={item}" for item in items]
    if not set(roles) <= set(MODELS) or len(set(roles)) < len(items) or "base" not in roles:
        raise ModelsError(f"MODELS={text} must name at most one folder for each of {', '.join(MODELS)}, the base "
                          "always: base=folder,lua=folder, or folders alone in that order.")
    return {role: Path(item.partition("=")[2]).expanduser().resolve()
            for role, item in sorted(zip(roles, items, strict=True), key=lambda pair: MODELS.index(pair[0]))}


def _local(role: str, folder: str) -> Path:
    path = Path(folder).expanduser().resolve() / RELEASED[role][0]
    if not path.is_dir():
        raise ModelsError(f"{path} does not exist; MODELS=released=folder asks for the authors' four checkpoints as "
                          "they are named on the hub.")
    return path


def _fetched(role: str, downloads: Path) -> Path:
    """A released checkpoint in `downloads`, fetched whole unless it is there."""
    name, pin = RELEASED[role]
    path = downloads / "released" / name
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=downloads) as work:  # a cut download goes with it
        try:
            commit = hub.commit(name, pin, "model")
            snapshot_download(name, revision=commit, allow_patterns=list(FILES), local_dir=Path(work, "model"))
        except Exception as error:  # network, access, disk: many libraries' errors, one meaning for the user
            raise ModelsError(f"Could not fetch the model {name} ({reason(error)[:200]}); check the network, or give a "
                              "local copy as MODELS=released=folder.") from error
        os.replace(Path(work, "model"), path)
    print(f"Fetched {name} at {commit}", flush=True)
    return path


# Whether they can be used -------------------------------------------------------------------------

def _complete(role: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ModelsError(f"The {role} model's folder {folder} does not exist; give a folder in Hugging Face layout.")
    wanted = ["config.json", *_weights(folder)]
    if not any((folder / name).is_file() for name in TOKENIZERS):
        wanted.append(TOKENIZERS[0])
    for name in wanted:
        if not (folder / name).is_file():
            raise ModelsError(f"The {role} model in {folder} lacks {name}; save model and tokenizer there with "
                              "save_pretrained, weights as safetensors.")


def _weights(folder: Path) -> list[str]:
    """Names of the files that hold a model's weights: one, or those that its index lists."""
    index = folder / "model.safetensors.index.json"
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else \
            ["model.safetensors"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelsError(f"{index} is damaged ({error}); save the model again with save_pretrained.") from error


def _alike(role: str, folder: Path, base: Path) -> None:
    """Refuse what is not of the base's architecture, sizes and tokenizer."""
    kinds = [_config(path).model_type for path in (folder, base)]
    if kinds[0] != kinds[1]:
        raise ModelsError(f"The {role} model in {folder} is of the architecture {kinds[0]} and the base of {kinds[1]}; "
                          "features are followed through models of one family.")
    if given_tokenizers.facts(folder)["model"] != given_tokenizers.facts(base)["model"]:
        raise ModelsError(f"The {role} model in {folder} has another vocabulary than the base in {base}; all must "
                          "share one tokenizer.")
    own, want = ({name: tuple(value.shape) for name, value in skeleton(path).state_dict().items()}
                 for path in (folder, base))
    for name in want | own:
        if own.get(name) != want.get(name):
            raise ModelsError(f"The {role} model in {folder} has {name} of shape {own.get(name)} where the base has "
                              f"{want.get(name)}; all must have the base's sizes.")


@functools.cache
def _config(folder: Path):
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelsError(f"{folder / 'config.json'} cannot be read ({reason(error)}); give a causal language model "
                          "of an architecture that transformers knows.") from error


def skeleton(folder: Path):
    """The model in `folder` without its weights, for names and shapes.

    Raises:
        ModelsError: it is no causal language model.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(_config(folder))
    except (ValueError, KeyError) as error:
        raise ModelsError(f"The model in {folder} is no causal language model ({_config(folder).model_type}); give one "
                          "such as Mistral, Llama, GPT-2 or GPT-NeoX.") from error


def fit(profile: Profile, folders: dict[str, Path]) -> Profile:
    """The profile with the sizes, vocabulary and, where it is shorter, the context of the given models.

    Raises:
        ModelError: no such hook point.
        ModelsError: a tokenizer that is not the model's.
    """
    model, vocab = skeleton(folders["base"]), len(given_tokenizers.facts(folders["base"])["names"])
    lm.site(model, profile.sae.hook)
    facts = lm.describe(model)
    if vocab > facts["vocab"]:
        raise ModelsError(f"The tokenizer in {folders['base']} has {vocab:,} tokens and the model {facts['vocab']:,}; "
                          "give the model with its own tokenizer.")
    sizes = {name: facts[name] for name in ("layers", "d_model", "d_mlp", "heads", "kv_heads")}
    text = dict(vocab=vocab, context=min(profile.corpora.context, facts["context"]))
    return dataclasses.replace(profile, model=dataclasses.replace(profile.model, **sizes),
                               corpora=dataclasses.replace(profile.corpora, **text))


@functools.cache
def fingerprint(folder: Path) -> dict[str, str]:
    """Hashes of all files of a model's folder that are read: {name: sha256}."""
    paths = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    return {path.name: store.sha256(path) for path in paths}


# Models -------------------------------------------------------------------------------------------

def take(source: Path, tokens, folder: Path):
    """Write the model in `source`, renumbered and in float32, and its renumbered tokenizer `tokens` into `folder`.

    Raises:
        ModelError: its weights are missing, damaged or not finite.
    """
    model, opening = lm.load(source), given_tokenizers.facts(source)["opening"]
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tensors = [embedding.weight, head.weight, getattr(head, "bias", None)]
    for value in {value.data_ptr(): value.data for value in tensors if value is not None}.values():  # tied: once
        value[[0, opening]] = value[[opening, 0]]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        number = getattr(model.config, name, None)
        for config in filter(None, (model.config, model.generation_config)):
            setattr(config, name, {0: opening, opening: 0}.get(number, number) if isinstance(number, int) else None)
    lm.save(model, tokens, folder)
    return model


def untrained(folder: Path, seed: int):
    """A model of the architecture and sizes of the one in `folder`, with random weights."""
    with import_lock.LOCK, torch.random.fork_rng():
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(_config(folder), attn_implementation=lm.attention()).eval()


def between(rule, a: dict, b: dict, t: float) -> dict:
    """`rule` (merge.slerp or lerp) on two state dicts; what is equal in both stays as it is, be it zero."""
    moved = differing(a, b)
    return a | rule({name: a[name] for name in moved}, {name: b[name] for name in moved}, t)


def differing(a: dict, b: dict) -> list[str]:
    """Names of the tensors that differ between two state dicts."""
    return [name for name in a if not torch.equal(a[name], b[name])]


def nearest_t(a: dict, b: dict, merged: dict) -> float:
    """The t at which slerp(a, b, t) comes nearest to a given merge (least squares over all tensors), to 3 digits."""
    from scipy.optimize import minimize_scalar

    moved = differing(a, b)
    if not moved:
        return 0.5
    a, b = ({name: state[name] for name in moved} for state in (a, b))

    def distance(t):
        return sum((value - merged[name]).square().sum(dtype=torch.float64).item()
                   for name, value in merging.slerp(a, b, float(t)).items())

    return round(float(minimize_scalar(distance, bounds=(0, 1), method="bounded", options=dict(xatol=1e-4)).x), 3)
