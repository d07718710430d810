"""Whether SAEs, their twins and the models they are said to read belong together."""

from pathlib import Path

import torch

from unifeat import lm
from unifeat.lineage import given
from unifeat.lm import tokenizers
from unifeat.sae import Sae, SaeError, folders
from unifeat.track.inputs import TrackError
from unifeat.track.runs import TrackRun, activation_width, model_folders


def read(role: str, where: str, twin: str, hook: str) -> tuple[dict[str, Sae], dict[str, Path]]:
    """A side's SAEs and their folders, by name: own and, where one is given, twin.

    hook: what an SAE reads whose files do not say it.

    Raises:
        SaeError: a folder without an SAE that can be read.
        TrackError: no hook point or another than `hook`, or a twin that is none.
    """
    places = {"own": Path(where)} | ({"twin": Path(twin).expanduser().resolve()} if twin else {})
    saes = {name: folders.read(place) for name, place in places.items()}
    for name, one in saes.items():
        if hook and one.hook and one.hook != hook:
            raise TrackError(f"The SAE in {places[name]} reads {one.hook} and not --hook {hook}; leave --hook out.")
        one.hook = one.hook or hook
        if not one.hook:
            raise TrackError(f"The SAE in {places[name]} does not say which activations it reads; say so with --hook, "
                             "as in --hook blocks.3.hook_resid_post.")
    if twin and (problem := _no_twin(saes["own"], saes["twin"], role)):
        raise TrackError(f"--twin-{role.lower()} {twin} {problem}; a twin is an SAE of the same model and hook point, "
                         "trained from another seed.")
    return saes, places


def _no_twin(own: Sae, twin: Sae, role: str) -> str:
    if own.w_enc.shape == twin.w_enc.shape and torch.equal(own.w_enc, twin.w_enc):
        return f"is the same SAE as {role}"
    if own.hook != twin.hook:
        return f"reads {twin.hook} and {role} {own.hook}"
    if own.w_enc.shape[1] != twin.w_enc.shape[1]:
        return f"reads activations of {twin.w_enc.shape[1]:,} numbers and {role} of {own.w_enc.shape[1]:,}"
    return "was trained on another model" if own.lm_hash and twin.lm_hash and own.lm_hash != twin.lm_hash else ""


def common_context(models: tuple[str, str]) -> int:
    """Tokens that both models can read at once, at most.

    Raises:
        TrackError: they do not read the same tokens.
        ModelsError: a model that cannot be read.
    """
    found = [folder for role, model in zip("AB", models, strict=True)
             for folder in model_folders({f"of {role}": model}).values()]
    if not tokenizers.alike(*found):
        raise TrackError(f"The models {models[0]} and {models[1]} have different tokenizers; features can only be "
                         "compared on the same tokens.")
    return min(lm.describe(given.skeleton(folder))["context"] for folder in found)


def check_model(role: str, saes: dict[str, Sae], places: dict[str, Path], model: str, run: TrackRun) -> None:
    """Refuse SAEs of activations of another width, or of another model, than those of `model`, the run's.

    Raises:
        SaeError: so.
    """
    d, taken = activation_width(run.lineage), ""
    for name, one in saes.items():
        if one.w_enc.shape[1] != d:
            raise SaeError(f"The SAE in {places[name]} reads activations of {one.w_enc.shape[1]:,} numbers, and "
                           f"{one.hook} of {model} has {d:,}; name the model that it was trained on.")
        if not one.lm_hash:
            continue
        taken = taken or lm.weights_hash(run.model(run.lineage.names[0]))  # its tokens renumbered, as runs do
        if one.lm_hash not in (taken, lm.weights_hash(lm.load(run.given[run.lineage.names[0]]))):
            raise SaeError(f"The SAE in {places[name]} was trained on another model than {model} (weights "
                           f"{one.lm_hash}, not {taken}); name that model with --model-{role.lower()}.")
