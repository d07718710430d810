"""An SAE out of a folder in any of three layouts: unifeat's, SAELens's, dictionary_learning's.

The first two are safetensors and JSON, the third is in `dictionaries`.
"""

import json
import re
from pathlib import Path

from unifeat.sae import dictionaries, formats
from unifeat.sae.model import Sae, SaeError, load

FILES = {"unifeat": ("config.json", "sae.safetensors"), "saelens": ("cfg.json", "sae_weights.safetensors"),
         "dictionary_learning": ("config.json", "ae.pt")}


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
    one = formats.load_saelens(folder) if kind == "saelens" else dictionaries.load(folder)
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
