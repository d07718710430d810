"""dictionary_learning's folders (config.json, ae.pt), read.

ae.pt is a pickle, which could run code: it is opened only if it names nothing but tensors, and then by torch's reader
of plain weights.
"""

import json
import math
import pickletools
import re
import zipfile
from pathlib import Path

import torch

from unifeat.sae import formats
from unifeat.sae.model import Sae, SaeError
from unifeat.support.errors import reason

HARMLESS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage")
PLACES = (  # dictionary_learning's names of where an SAE reads, what it takes there, and TransformerLens's name
    (r"resid_post_layer_(\d+)", "out", "hook_resid_post"),
    (r"mlp_out_layer_(\d+)", "out", "hook_mlp_out"),
    (r"(?:\w+\.)+(\d+)", "out", "hook_resid_post"),
    (r"(?:\w+\.)+(\d+)\.mlp", "out", "hook_mlp_out"),
    (r"(?:\w+\.)+(\d+)\.mlp\.(?:down_proj|c_proj|dense_4h_to_h)", "in", "mlp.hook_post"),
)
LINEAR = {"encoder.weight": "wd", "encoder.bias": "w", "decoder.weight": "dw"}  # shapes: w is the width, d the input's
PLAIN = {"W_enc": "dw", "b_enc": "w", "W_dec": "wd", "b_dec": "d", "threshold": "w"}
CLASSES = {  # of its SAEs: the tensors of each, numbers (k, a threshold for all) aside
    "AutoEncoder": LINEAR | {"bias": "d"}, "AutoEncoderNew": LINEAR | {"decoder.bias": "d"},
    "AutoEncoderTopK": LINEAR | {"b_dec": "d"}, "BatchTopKSAE": LINEAR | {"b_dec": "d"},
    "MatryoshkaBatchTopKSAE": {name: shape for name, shape in PLAIN.items() if name != "threshold"},
    "JumpReluAutoEncoder": PLAIN,
    "GatedAutoEncoder": {"encoder.weight": "wd", "decoder.weight": "dw", "decoder_bias": "d", "r_mag": "w",
                         "mag_bias": "w", "gate_bias": "w"}}
KINDS = {"AutoEncoder": "relu", "AutoEncoderNew": "relu", "AutoEncoderTopK": "topk", "BatchTopKSAE": "batchtopk",
         "MatryoshkaBatchTopKSAE": "batchtopk", "JumpReluAutoEncoder": "jumprelu", "GatedAutoEncoder": "jumprelu"}
NUMBERS = ("k", "threshold", "group_sizes")  # that its top-k kinds keep beside their tensors


def load(folder: Path) -> Sae:
    """The SAE that dictionary_learning saved in `folder`, of a class in CLASSES.

    A gated one is a jumprelu (see `formats.gated`); an encoder that does not subtract b_dec has that folded in.

    Raises:
        SaeError: another class, tensors that do not fit it, damaged files, or a pickle of more than tensors.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        trainer, io = config["trainer"], config.get("buffer", {}).get("io", "out")
        name = trainer["dict_class"]
        if name not in CLASSES:
            raise ValueError(f"its class is {name}")
        state, sizes = _tensors(folder / "ae.pt"), dict(w=trainer["dict_size"], d=trainer["activation_dim"])
        numbers = {one: state.pop(one) for one in NUMBERS if one in state and one not in CLASSES[name]}
        formats.held(state, {one: tuple(sizes[axis] for axis in axes) for one, axes in CLASSES[name].items()})
        k = int(numbers.get("k", trainer.get("k") or 0))
        if KINDS[name] == "topk" and not 0 < k <= sizes["w"]:
            raise ValueError("its k is not a number of latents")
        w_enc, b_enc, w_dec, b_dec, threshold = _parts(name, {key: value.float() for key, value in state.items()})
        if KINDS[name] == "batchtopk":
            threshold = max(0.0, float(numbers["threshold"]))
        return Sae(KINDS[name], k, w_enc.contiguous(), b_enc, w_dec.contiguous(), b_dec, 1.0, threshold,
                   seed=int(trainer.get("seed") or 0), dead_share=math.nan, hook=_place(trainer, io))
    except SaeError:
        raise
    except Exception as error:
        raise SaeError(f"The SAE in {folder} cannot be loaded ({reason(error)}); unifeat reads {', '.join(CLASSES)} as "
                       "dictionary_learning saves them.") from error


def _parts(name: str, state: dict[str, torch.Tensor]) -> tuple:
    """w_enc (width, d), b_enc, w_dec (width, d), b_dec and threshold of ours, from the tensors of a class of theirs."""
    if name == "GatedAutoEncoder":
        w_enc, b_enc, threshold = formats.gated(state["encoder.weight"], state["r_mag"], state["mag_bias"],
                                                state["gate_bias"])
        return w_enc, b_enc, state["decoder.weight"].T, state["decoder_bias"], threshold
    if "W_enc" in state:
        w_enc, b_enc, w_dec, b_dec = state["W_enc"].T, state["b_enc"], state["W_dec"], state["b_dec"]
    else:
        w_enc, b_enc, w_dec = state["encoder.weight"], state["encoder.bias"], state["decoder.weight"].T
        b_dec = state[next(one for one in ("bias", "b_dec", "decoder.bias") if one in state)]
    if name in ("JumpReluAutoEncoder", "AutoEncoderNew"):  # W x + b = W (x - b_dec) + (b + W b_dec)
        b_enc = b_enc + w_enc @ b_dec
    return w_enc, b_enc, w_dec, b_dec, state["threshold"].clamp_min(0) if "threshold" in state else 0.0


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that torch.save wrote.

    Raises:
        SaeError: the file names anything else than tensors; nothing of it has then been run.
    """
    with zipfile.ZipFile(path) as file:
        pickle = next(name for name in file.namelist() if name.endswith("/data.pkl"))
        named = {str(argument) for code, argument, _ in pickletools.genops(file.read(pickle))
                 if "GLOBAL" in code.name or code.name in ("INST", "EXT1", "EXT2", "EXT4")}
    if foreign := sorted(name for name in named if not HARMLESS.fullmatch(name)):
        raise SaeError(f"{path} holds more than tensors ({foreign[0]}), which could run code, and is not opened; save "
                       "the dictionary's state_dict() there.")
    return torch.load(path, map_location="cpu", weights_only=True)


def _place(trainer: dict, io: str) -> str:
    """What an SAE reads, as TransformerLens names it; "" if its configuration says it in no way that is known.

    >>> _place({"submodule_name": "resid_post_layer_3"}, "out"), _place({"submodule_name": "model.layers.0.mlp"}, "out")
    ('blocks.3.hook_resid_post', 'blocks.0.hook_mlp_out')
    """
    name = str(trainer.get("submodule_name", ""))
    for pattern, side, hook in PLACES:
        if (found := re.fullmatch(pattern, name)) and io == side:
            return f"blocks.{found[1]}.{hook}"
    return ""
