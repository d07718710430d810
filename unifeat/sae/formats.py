"""Sparse autoencoders in other libraries' layouts, and the cards that go with them to the Hugging Face hub.

SAELens (cfg.json, sae_weights.safetensors; layout of 6.x) is written and read. dictionary_learning (config.json,
ae.pt) is written here and read in `dictionaries`.
"""

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from unifeat.lm import HOOK
from unifeat.sae.model import Sae, SaeError
from unifeat.support import markdown, store

SAELENS = {"relu": "standard", "topk": "topk", "batchtopk": "jumprelu", "jumprelu": "jumprelu"}  # theirs by our kind
TENSORS = {"standard": {}, "topk": {}, "jumprelu": {"threshold": 1}, "gated": {"r_mag": 1, "b_mag": 1, "b_gate": 1}}
SAELENS_VERSION = "6.54.0"  # the release whose layout is written
SUBMODULES = {"mlp.hook_post": (".mlp.down_proj", "in"), "hook_mlp_out": (".mlp", "out"),
              "hook_resid_post": ("", "out")}  # a hook point as dictionary_learning names it, in Mistral and Llama
DICTIONARIES = {"relu": ("AutoEncoder", "StandardTrainer"), "topk": ("AutoEncoderTopK", "TopKTrainer"),
                "batchtopk": ("BatchTopKSAE", "BatchTopKTrainer"),
                "jumprelu": ("JumpReluAutoEncoder", "JumpReluTrainer")}  # dictionary_learning's classes by our kind


def folded(sae: Sae) -> Sae:
    """The same SAE with scale 1, for activations as they come: latents and biases in units of the activations.

        act(W_enc (s x - b_dec) + b_enc) / s = act'(W_enc (x - b_dec / s) + b_enc / s)

    since act is positively homogeneous; the threshold of act' is divided by s. Decoder rows keep their unit norm and
    reconstructions stay as they are.

    >>> one = Sae("relu", 1, torch.eye(1), torch.tensor([1.0]), torch.eye(1), torch.tensor([2.0]), scale=2.0)
    >>> x = torch.tensor([[4.0]])  # 2 * 4 - 2 + 1 = 7
    >>> one.encode(x).item(), folded(one).encode(x).item(), folded(one).decode(folded(one).encode(x)).item()
    (7.0, 3.5, 4.5)
    """
    s = sae.scale
    return dataclasses.replace(sae, b_enc=sae.b_enc / s, b_dec=sae.b_dec / s, threshold=sae.threshold / s, scale=1.0)


def save_saelens(sae: Sae, folder: Path, model_name: str = "") -> None:
    """Write `sae` so that `sae_lens.SAE.load_from_disk(folder)` gives its latents divided by its scale.

    relu becomes their `standard`, topk their `topk`, batchtopk their `jumprelu` with the same threshold for all latents
    (they let through z > threshold, we z >= threshold). What their layout has no place for stands in the metadata.
    """
    one = folded(sae)
    width, d = one.w_enc.shape
    tensors = dict(W_enc=one.w_enc.T, b_enc=one.b_enc, W_dec=one.w_dec, b_dec=one.b_dec)
    if SAELENS[sae.kind] == "jumprelu":
        tensors["threshold"] = one.threshold + torch.zeros(width)
    own = dict(k=sae.k, scale=sae.scale, lm_hash=sae.lm_hash, seed=sae.seed)
    if math.isfinite(sae.dead_share):
        own["dead_share"] = sae.dead_share
    config = dict(architecture=SAELENS[sae.kind], d_in=d, d_sae=width, dtype="float32", device="cpu",
                  apply_b_dec_to_input=True, normalize_activations="none", reshape_activations="none",
                  metadata=dict(sae_lens_version=SAELENS_VERSION, model_name=model_name, unifeat=own,
                                hook_name=sae.hook))
    if sae.kind == "topk":
        config |= dict(k=sae.k, rescale_acts_by_decoder_norm=False)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()},
              folder / "sae_weights.safetensors")
    store.write_text(folder / "cfg.json", json.dumps(config, indent=1) + "\n")


def load_saelens(folder: str | Path) -> Sae:
    """The SAE in `folder` as SAELens 6 saves it, with scale 1: `standard`, `topk`, `jumprelu` or `gated`.

    A gated one is a `jumprelu` (see `gated`). Their scaling by decoder norms is folded in, and so is an encoder that
    does not subtract b_dec. An SAE of another library has k = 0 where its architecture has none, and no lm_hash.

    Raises:
        SaeError: missing or damaged files; another architecture; tensors or settings that ours have no place for.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        tensors = {name: value.float() for name, value in load_file(folder / "sae_weights.safetensors").items()}
        kind = _supported(config)
        width, d = config["d_sae"], config["d_in"]
        shapes = dict(W_enc=(d, width), W_dec=(width, d), b_dec=(d,)) | dict.fromkeys(TENSORS[kind], (width,))
        held(tensors, shapes if kind == "gated" else shapes | dict(b_enc=(width,)))
        if kind == "topk" and not 0 < int(config.get("k") or 0) <= width:
            raise ValueError(f"its k is {config.get('k')} and its latents are {width}")
        return _from_saelens(kind, config, tensors)
    except Exception as error:
        raise SaeError(f"The SAE in {folder} cannot be loaded ({error}); unifeat reads {', '.join(TENSORS)} SAEs saved "
                       "by SAELens 6, without input normalisation.") from error


def held(tensors: dict, shapes: dict[str, tuple]) -> None:
    """Refuse tensors that are not these, of these shapes: one that is passed over would make the numbers wrong.

    Raises:
        ValueError: so.
    """
    for name, shape in shapes.items():
        if name not in tensors or tensors[name].shape != shape or not tensors[name].isfinite().all():
            raise ValueError(f"its tensor {name} is missing, not finite or not of shape {shape}")
    if more := sorted(tensors.keys() - shapes.keys()):
        raise ValueError(f"its tensor {more[0]} has no place in such an SAE")


def gated(w: torch.Tensor, r_mag: torch.Tensor, b_mag: torch.Tensor, b_gate: torch.Tensor) -> tuple:
    """A gated encoder as a jumprelu's (w_enc, b_enc, threshold), exactly.

        f = 1[p + b_gate > 0] relu(e^r p + b_mag)  with p = W x  is  relu(z) where z > b_mag - e^r b_gate

    with z = e^r p + b_mag (Rajamanoharan et al. 2024, arXiv 2404.16014, section 3.2 and appendix). w (width, d), the
    others (width,).

    >>> one = torch.ones(1)
    >>> gated(torch.ones(1, 1), 0 * one, one, -3 * one)  # the gate opens at p = 3, where z = 4
    (tensor([[1.]]), tensor([1.]), tensor([4.]))
    """
    return w * r_mag.exp()[:, None], b_mag, (b_mag - r_mag.exp() * b_gate).clamp_min(0)


def _supported(config: dict) -> str:
    """The architecture in SAELens's configuration; ValueError where it, or a setting of it, cannot be read."""
    version = str(config.get("metadata", {}).get("sae_lens_version", "0"))
    if int(version.split(".")[0]) < 6:
        raise ValueError("it was saved before SAELens 6; load and save it with a newer one")
    if config["architecture"] not in TENSORS:
        raise ValueError(f"its architecture is {config['architecture']}")
    for name in ("normalize_activations", "reshape_activations"):
        if config.get(name, "none") != "none":
            raise ValueError(f"its {name} is {config[name]}")
    return config["architecture"]


def _from_saelens(kind: str, config: dict, tensors: dict) -> Sae:
    """Our SAE from checked tensors, their options folded in."""
    own = config["metadata"].get("unifeat", {})
    w_enc, w_dec, threshold = tensors["W_enc"].T.contiguous(), tensors["W_dec"], 0.0
    if kind == "gated":
        kind, (w_enc, b_enc, threshold) = "jumprelu", gated(w_enc, *(tensors[name] for name in TENSORS["gated"]))
    else:
        b_enc = tensors["b_enc"]
    if kind == "jumprelu" and "threshold" in tensors:
        threshold = tensors["threshold"].clamp_min(0)
        if threshold.unique().numel() == 1:
            kind, threshold = "batchtopk", threshold[0].item()
    if not config.get("apply_b_dec_to_input", True):  # W x + b = W (x - b_dec) + (b + W b_dec)
        b_enc = b_enc + w_enc @ tensors["b_dec"]
    if config.get("rescale_acts_by_decoder_norm"):  # of topk alone
        norm = w_dec.norm(dim=1)
        w_enc, b_enc, w_dec = w_enc * norm[:, None], b_enc * norm, w_dec / norm[:, None]
    kind = "relu" if kind == "standard" else kind
    return Sae(kind, config.get("k", own.get("k", 0)), w_enc, b_enc, w_dec, tensors["b_dec"], 1.0, threshold,
               own.get("lm_hash", ""), own.get("seed", 0), own.get("dead_share", math.nan),
               config["metadata"].get("hook_name") or HOOK)


def save_dictionary_learning(sae: Sae, folder: Path, model_name: str = "") -> None:
    """Write `sae` so that dictionary_learning's `load_dictionary(folder, device)` gives its latents / its scale.

    relu becomes their AutoEncoder, topk their AutoEncoderTopK, batchtopk their BatchTopKSAE (z > threshold there),
    jumprelu their JumpReluAutoEncoder.
    """
    one = folded(sae)
    width, d = one.w_enc.shape
    state = {"encoder.weight": one.w_enc, "encoder.bias": one.b_enc, "decoder.weight": one.w_dec.T.contiguous()}
    if sae.kind == "relu":
        state["bias"] = one.b_dec
    elif sae.kind == "jumprelu":  # which does not take b_dec from its input
        state = dict(W_enc=one.w_enc.T.contiguous(), b_enc=one.b_enc - one.w_enc @ one.b_dec, W_dec=one.w_dec,
                     b_dec=one.b_dec, threshold=one.threshold)
    else:
        state |= dict(b_dec=one.b_dec, k=torch.tensor(sae.k, dtype=torch.int),
                      threshold=torch.tensor(one.threshold if sae.kind == "batchtopk" else -1.0))  # -1: none
    dict_class, trainer_class = DICTIONARIES[sae.kind]
    _, layer, place = sae.hook.split(".", 2)
    module, io = SUBMODULES[place]
    trainer = dict(trainer_class=trainer_class, dict_class=dict_class, activation_dim=d, dict_size=width, k=sae.k,
                   seed=sae.seed, layer=int(layer), lm_name=model_name, submodule_name=f"model.layers.{layer}{module}",
                   device="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    store.write_text(folder / "config.json", json.dumps(dict(trainer=trainer, buffer=dict(io=io)), indent=1) + "\n")


MODEL_USE = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this folder")
tokenizer = AutoTokenizer.from_pretrained("this folder")"""
SAE_USE = {"saelens": """from sae_lens import SAE

sae = SAE.load_from_disk("this folder/seed0")
latents = sae.encode(activations)  # (tokens, d_mlp) -> (tokens, width)""", "dictionary_learning": """\
from dictionary_learning.utils import load_dictionary

sae, config = load_dictionary("this folder/seed0", device="cpu")
latents = sae.encode(activations)  # (tokens, d_mlp) -> (tokens, width)"""}
LICENCE = ("The code that made these files is under the MIT licence. They carry no licence of their own: whoever "
           "publishes them chooses one that the licences of the texts above allow.")


def model_card(name: str, about: str, texts: pd.DataFrame, losses: pd.DataFrame, base_models=()) -> str:
    """README.md of an exported language model, with the front matter the hub reads.

    about: a sentence on how it was made; texts: rows of the corpora it has seen; losses: rows of models.csv on
    held-out text; base_models: hub names of the models it comes from.
    """
    measured = losses[["domain", "loss_nats", "accuracy", "bits_per_byte"]]
    return _card(dict(library_name="transformers", pipeline_tag="text-generation", tags=["unifeat"]), base_models,
                 f"unifeat: {name}", about, {"Text it has seen": _text(texts), "On held-out text": _markdown(measured),
                                             "Use": f"```python\n{MODEL_USE}\n```"})


def sae_card(name: str, layout: str, about: str, texts: pd.DataFrame, metrics: pd.DataFrame, base_models=()) -> str:
    """README.md of exported SAEs in `layout`; metrics: rows of saes.csv; the rest as in `model_card`."""
    tags = ["unifeat", "sparse-autoencoder", "mechanistic-interpretability"]
    return _card(dict(library_name=layout, tags=tags), base_models, f"unifeat: SAEs of {name}", about,
                 {"Text that model and SAEs have seen": _text(texts), "On held-out text": _markdown(
                     metrics.drop(columns=["model", "arm"])), "Use": f"```python\n{SAE_USE[layout]}\n```"})


def _card(front: dict, base_models, title: str, about: str, sections: dict[str, str]) -> str:
    from huggingface_hub import ModelCardData  # takes a second that reading and writing SAEs need not wait for

    sections = sections | {"Licence": LICENCE, "Paper": "Horn and Elliott, *Tracking Universal Features Through "
                           "Fine-Tuning and Model Merging*, [arXiv 2410.12391](https://arxiv.org/abs/2410.12391)."}
    data = ModelCardData(**front, base_model=list(base_models) or None)
    return "\n".join([f"---\n{data.to_yaml()}\n---\n", f"# {title}\n", f"{about}\n",
                      *(f"## {heading}\n\n{body}\n" for heading, body in sections.items())])


def _text(texts: pd.DataFrame) -> str:
    return _markdown(texts[texts["split"] == "train"][["domain", "source", "version", "licence", "documents", "bytes"]])


def _markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown, numbers to 4 digits.

    >>> print(_markdown(pd.DataFrame(dict(domain=["lua"], loss_nats=[1.23456], accuracy=[float("nan")]))))
    | domain | loss_nats | accuracy |
    |---|---|---|
    | lua | 1.2346 |  |
    """
    def cell(value):
        return "" if pd.isna(value) else f"{value:.4f}" if isinstance(value, float) else markdown.plain(str(value))

    rows = ["| " + " | ".join(map(cell, row)) + " |" for row in [frame.columns, *frame.itertuples(index=False)]]
    return "\n".join([rows[0], "|" + "---|" * len(frame.columns), *rows[1:]])
