"""An SAE out of a folder in any of three layouts: unifeat's, SAELens's, dictionary_learning's.

The first two are safetensors and JSON. dictionary_learning's ae.pt is a pickle, which could run code: it is opened only
if it names nothing but tensors, and then by torch's reader of plain weights.
"""

import json
import math
import pickletools
import re
import zipfile
from pathlib import Path

import torch

from unifeat.sae import formats
from unifeat.sae.model import Sae, SaeError, load
from unifeat.support.errors import reason

FILES = {"unifeat": ("config.json", "sae.safetensors"), "saelens": ("cfg.json", "sae_weights.safetensors"),
         "dictionary_learning": ("config.json", "ae.pt")}
KINDS = {names[0]: kind for kind, names in formats.DICTIONARIES.items()}
HARMLESS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage")
PLACES = (  # dictionary_learning's names of where an SAE reads, what it takes there, and TransformerLens's name
    (r"resid_post_layer_(\d+)", "out", "hook_resid_post"),
    (r"mlp_out_layer_(\d+)", "out", "hook_mlp_out"),
    (r"(?:\w+\.)+(\d+)", "out", "hook_resid_post"),
    (r"(?:\w+\.)+(\d+)\.mlp", "out", "hook_mlp_out"),
    (r"(?:\w+\.)+(\d+)\.mlp\.(?:down_proj|c_proj|dense_4h_to_h)", "in", "mlp.hook_post"),
)


def layout(folder: Path) -> str:
    """The layout of the SAE in `folder`: a name in FILES, "" if there is none."""
    return next((name for name, (_, weights) in FILES.items() if (folder / weights).is_file()), "")


def read(folder: str | Path) -> Sae:
    """The SAE in `folder`, whatever its layout; `hook` is "" where its files do not say what it reads.

    Raises:
        SaeError: no SAE there, damaged files, or a kind of SAE that cannot be read.
    """
    folder = Path(folder)
    kind = layout(folder)
    if not kind:
        raise SaeError(f"{folder} holds no SAE; give a folder with {', '.join(names[1] for names in FILES.values())}.")
    if kind == "unifeat":
        return load(folder)
    one = formats.load_saelens(folder) if kind == "saelens" else _dictionary(folder)
    if kind == "saelens":
        stated = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))["metadata"].get("hook_name")
        one.hook = _earlier(stated or "")
    return one


def _earlier(hook: str) -> str:
    """What enters a block is what the block before it puts out.

    >>> _earlier("blocks.3.hook_resid_pre"), _earlier("blocks.3.hook_mlp_out")
    ('blocks.2.hook_resid_post', 'blocks.3.hook_mlp_out')
    """
    found = re.fullmatch(r"blocks\.([1-9]\d*)\.hook_resid_pre", hook)
    return f"blocks.{int(found[1]) - 1}.hook_resid_post" if found else hook


def _dictionary(folder: Path) -> Sae:
    """The SAE that dictionary_learning saved in `folder`: its AutoEncoder, AutoEncoderTopK or BatchTopKSAE."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        trainer, io = config["trainer"], config.get("buffer", {}).get("io", "out")
        if trainer["dict_class"] not in KINDS:
            raise ValueError(f"its class is {trainer['dict_class']}")
        kind, state = KINDS[trainer["dict_class"]], _tensors(folder / "ae.pt")
        width, d = trainer["dict_size"], trainer["activation_dim"]
        bias = "bias" if kind == "relu" else "b_dec"
        shapes = {"encoder.weight": (width, d), "encoder.bias": (width,), "decoder.weight": (d, width), bias: (d,)}
        for name, shape in shapes.items():
            if name not in state or state[name].shape != shape or not state[name].isfinite().all():
                raise ValueError(f"its tensor {name} is missing, not finite or not of shape {shape}")
        k = int(state.get("k", trainer.get("k", 0)))
        if kind == "topk" and not 0 < k <= width:
            raise ValueError("its k is not a number of latents")
        threshold = max(0.0, float(state["threshold"])) if kind == "batchtopk" else 0.0
        return Sae(kind, k, state["encoder.weight"].float(), state["encoder.bias"].float(),
                   state["decoder.weight"].T.float().contiguous(), state[bias].float(), 1.0, threshold,
                   seed=int(trainer.get("seed") or 0), dead_share=math.nan, hook=_place(trainer, io))
    except SaeError:
        raise
    except Exception as error:
        raise SaeError(f"The SAE in {folder} cannot be loaded ({reason(error)}); unifeat reads {', '.join(KINDS)} as "
                       "dictionary_learning saves them.") from error


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
