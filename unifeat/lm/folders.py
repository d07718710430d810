"""What lies in a model's folder, looked at before anything is computed: whole, plain weights, or one sentence."""

import json
from pathlib import Path

from unifeat.lm.hooks import ModelError

POINTERS = (b"version https://git-lfs", b"# xet version")  # how files begin that stand for others
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
FLOATS = ("F64", "F32", "F16", "BF16")
WHOLE = ("I64", "I32", "U8", "BOOL")  # of buffers: positions and masks
PACKED = ("qweight", "weight_packed", "weight_scale", "weight_scale_inv", "absmax", "SCB", "quant_map")
DEQUANTISE = "load it with transformers, call model.dequantize() and save that with save_pretrained"


def check(folder: Path, name: str) -> None:
    """Refuse a model folder that is incomplete, or holds something else than one model with plain weights.

    name: what messages call it, as in "the model lua".

    Raises:
        ModelError: no such folder, a file missing or cut off, a git-lfs pointer, an adapter, quantised weights.
    """
    if not folder.is_dir():
        raise ModelError(f"The folder of {name}, {folder}, does not exist; give a folder in Hugging Face layout.")
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".model", ".txt") and _pointer(path):
            raise ModelError(f"{path} is a pointer to a file that was not fetched; run `git lfs pull` in {folder}.")
        if path.name in ADAPTERS:
            raise ModelError(f"In {folder}, the folder of {name}, is an adapter ({path.name}); merge it into its model "
                             "with peft's merge_and_unload and save that, or move the adapter away to study the model "
                             "without it.")
    _not_quantised(folder, name)
    names = weights(folder)
    for file in ("config.json", *names):
        if not (folder / file).is_file():
            raise ModelError(f"{folder}, the folder of {name}, lacks {file}{_instead(folder)}; save model and "
                             "tokenizer there with save_pretrained, weights as safetensors.")
    held = {tensor for file in names for tensor in _tensors(folder / file, name)}
    for tensor in sorted(_index(folder).keys() - held):
        raise ModelError(f"{folder}, the folder of {name}, lacks the tensor {tensor} that {INDEX} lists; copy or save "
                         "the model again.")


def weights(folder: Path) -> list[str]:
    """Names of the files that hold a model's weights: one, or those that its index lists.

    Raises:
        ModelError: the index is damaged.
    """
    return sorted(set(_index(folder).values())) or [WEIGHTS]


def _index(folder: Path) -> dict[str, str]:
    """Shards by tensor; none where all weights are in one file."""
    path = folder / INDEX
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"]) if path.is_file() else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged ({error}); save the model again with save_pretrained.") from error


def _pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).startswith(POINTERS)


def _not_quantised(folder: Path, name: str) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # said elsewhere
    found = isinstance(config, dict) and (config.get("quantization_config") or config.get("compression_config"))
    if found:
        method = found.get("quant_method", "") if isinstance(found, dict) else ""
        raise ModelError(f"The weights of {name} in {folder} are quantised{f' ({method})' if method else ''}; "
                         f"{DEQUANTISE}.")


def _instead(folder: Path) -> str:
    """What there is in the place of safetensors."""
    for pattern, what in (("*.gguf", "a GGUF file; give that file itself"), ("*.bin", "weights as a pickle"),
                          ("*.pt*", "weights as a pickle"), ("consolidated*", "the maker's own layout")):
        if any(folder.glob(pattern)):
            return f" (there is {what})"
    return ""


def _tensors(path: Path, name: str) -> list[str]:
    """Names of the tensors in a safetensors file, from its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            kinds = {tensor: file.get_slice(tensor).get_dtype() for tensor in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged or cut off ({error}); copy it again.") from error
    for tensor, kind in kinds.items():
        if tensor.rpartition(".")[2] in PACKED or kind not in FLOATS + WHOLE:
            raise ModelError(f"The weights of {name} in {path.parent} are quantised ({tensor} is {kind}); "
                             f"{DEQUANTISE}.")
    return list(kinds)
