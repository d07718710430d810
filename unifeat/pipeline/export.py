"""A finished run's models and SAEs in a folder for other libraries, and that folder on the Hugging Face hub."""

import shutil
from pathlib import Path

import pandas as pd

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.sae import formats
from unifeat.support import store
from unifeat.support.errors import UnifeatError, reason

WRITERS = {"saelens": formats.save_saelens, "dictionary_learning": formats.save_dictionary_learning}


class Finished(Run):
    """A run that only reads: what is not in the store is an error, not a computation."""

    def compute(self, name, build, folder):
        """Refuse."""
        raise UnifeatError(f"The store {self.root} has no {name} of lineage {self.lineage.name} made by this code; run "
                           "`make figures` with that LINEAGE and CORPORA first.")


def export(run: Run, name: str, folder: Path, layout: str, base_models=()) -> None:
    """Write model `name` of a finished run (layout huggingface), or its SAEs, and a card into a new `folder`.

    SAEs stand in one subfolder per seed; `base_models` are hub names that the card is to link to.

    Raises:
        UnifeatError: no such model, `folder` is in use, the run has not been finished, or the model was given to it.
    """
    if name not in run.lineage.names:
        raise UnifeatError(f"The lineage {run.lineage.name} has no model {name!r}; choose one of "
                           f"{', '.join(run.lineage.names)}.")
    if name in run.given and layout == "huggingface":
        raise UnifeatError(f"The {name} model was given to this run: it is in {run.given[name]} already.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnifeatError(f"{folder} is not empty; name a new folder, so that nothing of yours is overwritten.")
    run = Finished(run.lineage, run.root, run.figures, given=run.given)
    source, model = run.model_folder(name), run.model(name)
    texts = pd.DataFrame([row for row in run.corpus.rows if row["domain"] in _seen(run, name)])
    if layout == "huggingface":
        losses = run.losses(name)
        text = formats.model_card(name, _about_model(run, name, model), texts, losses[losses["split"] == "validation"],
                                  base_models)
        shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        saes, metrics = run.saes(name), run.sae_table(name)
        text = formats.sae_card(name, layout, _about_saes(run, name, saes[0]), texts, metrics, base_models)
        for one in saes:
            WRITERS[layout](one, folder / f"seed{one.seed}", (list(base_models) or [name])[0])
    store.write_text(folder / "README.md", text)


def push(folder: Path, repo_id: str, public: bool = False, api=None) -> str:
    """Upload an exported `folder` to the hub repository `repo_id`, made private unless `public`; returns its address.

    api: a `huggingface_hub.HfApi`, default the one of the environment (HF_TOKEN, HF_ENDPOINT, or a saved login).

    Raises:
        UnifeatError: no exported folder, no login, no right to write, or no network.
    """
    from huggingface_hub import HfApi

    if not (folder / "README.md").is_file():
        raise UnifeatError(f"{folder} holds no exported model (README.md is missing); make it with "
                           "`python -m unifeat export`.")
    api = api or HfApi()
    try:
        address = api.create_repo(repo_id, private=not public, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=f"{folder.resolve().name} of unifeat")
    except Exception as error:  # of huggingface_hub, of its HTTP library, of the system: all end in one sentence
        raise UnifeatError(f"{folder} could not be pushed to {repo_id} ({reason(error)}); check the name, the "
                           "network and your login (`hf auth login`, or HF_TOKEN).") from error
    return str(address)


def _seen(run: Run, name: str) -> list[str]:
    """Domains whose text a model has seen, its parents' included."""
    p, seen, todo = run.lineage, set(), [name]
    while todo:
        one = todo.pop()
        seen |= set(p.mix(one)[0])
        todo += p.parents(one)
    return [domain for domain in p.domains if domain in seen]


def _about_model(run: Run, name: str, model) -> str:
    one = run.lineage.models[name]
    if one.ends:
        a, b = one.ends
        made = (f"the {one.method.upper()} merge of the run's models {a} (t = 0) and {b} (t = 1), tensor by tensor, at "
                f"t = {run.merge_t(name)}")
    else:
        made = {"merge": f"the run's models {', '.join(one.merge)} merged by {one.method}",
                "train": "trained from random weights", "finetune": f"fine-tuned from the run's model {one.parent}",
                "checkpoint": "a checkpoint of the run's model " + (one.checkpoint.of if one.checkpoint else ""),
                "untrained": "random weights", "quantized": f"the run's model {one.parent} in {one.quantized} bits",
                "perturbed": f"the run's model {one.parent} moved at random"}[one.ways[0]]
    facts = lm.describe(model)
    return (f"A {type(model).__name__} with {facts['layers']} layer{'s' * (facts['layers'] > 1)} and "
            f"{facts['parameters']:,} parameters, vocabulary {facts['vocab']:,}, context {facts['context']}: "
            f"{made}. Lineage {run.lineage.name}, weights {lm.weights_hash(model)}.")


def _about_saes(run: Run, name: str, one) -> str:
    width, d = one.w_enc.shape
    domains = " + ".join(dict.fromkeys(run.lineage.sae_text(name)[0]))
    given = " The model was given: the text below is what its SAEs have seen." if name in run.given else ""
    active = "latents active where positive" if one.kind == "relu" else f"k = {one.k}"
    return (f"Sparse autoencoders of the activations at `{one.hook}` ({lm.HOOKS[one.hook.split('.', 2)[2]]}) of the "
            f"language model `{name}`, weights {one.lm_hash}, trained on its activations over {domains}; one folder "
            f"per seed. Kind {one.kind}, {active}, {d} -> {width} latents, decoder rows of unit norm. The scale of "
            f"the activations is folded in: give them as they come; latents are unifeat's divided by {one.scale:.6g}. "
            f"Lineage {run.lineage.name}.{given}")
