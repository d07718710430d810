"""The tokenizers of given models: renumbered so that token 0 opens a document, their tokens spelled in bytes."""

import functools
import json
import re
from pathlib import Path

from unifeat.lm import ModelError, tokenizers
from unifeat.support.errors import reason
from unifeat.text import bpe

BYTE_NAMES = {byte: char for char, byte in bpe.BYTES.items()}  # how byte-level BPE writes each byte


class ModelsError(ModelError):
    """Models that cannot be had, or do not belong together."""


@functools.cache
def facts(folder: Path) -> dict:
    """The tokenizer in `folder`: json (as the tokenizers library writes it), names (of the tokens in order), opening
    (number of the token that opens a document: its bos or eos, or where it declares neither, as the authors'
    checkpoints do not, the bos of the model's config.json).

    Raises:
        ModelError: it cannot be read, is not BPE, numbers its tokens with gaps, or has no token to open a document.
    """
    found, names = tokenizers.read(folder), tokenizers.names(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelsError(f"{folder / 'config.json'} cannot be read ({reason(error)}); save the model again with "
                          "save_pretrained.") from error
    text = found.backend_tokenizer.to_str()
    state, numbers = json.loads(text), found.get_vocab()
    stated = (found.bos_token_id, found.eos_token_id, config.get("bos_token_id"))
    opening = next((i for i in stated if i in range(len(names))), None)
    for fine, problem in ((state["model"]["type"] == "BPE", "is no byte-pair encoding (BPE)"),
                          ([numbers[name] for name in names] == list(range(len(names))), "leaves numbers out"),
                          (opening is not None, "has no token that opens a text (bos or eos)")):
        if not fine:
            raise ModelsError(f"The tokenizer in {folder} {problem}; give models with a tokenizer such as GPT-2's, "
                              "Llama's or Mistral's.")
    return dict(json=text, names=names, opening=opening)


def tokenizer(folder: Path, context: int):
    """The tokenizer in `folder` as transformers.PreTrainedTokenizerFast, renumbered: token 0 opens a document."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    found = facts(folder)
    names, opening, state = found["names"], found["opening"], json.loads(found["json"])
    places = {0: opening, opening: 0}
    vocab = state["model"]["vocab"] | {names[i]: i for i in places}  # an added token may stand only in its own list
    state["model"]["vocab"] = {name: places.get(i, i) for name, i in vocab.items()}
    state["added_tokens"] = sorted((token | dict(id=places.get(token["id"], token["id"]))
                                    for token in state["added_tokens"]), key=lambda token: token["id"])
    state |= dict(post_processor=None, truncation=None, padding=None)  # what opens a text is put there by `pack`
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), names[opening])
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), model_max_length=context,
                                   clean_up_tokenization_spaces=False, **special)


def spell(tokenizer) -> list[str]:
    """Every token's name in the spelling of byte-level BPE: one character a byte (see `bpe.token_text`).

    Sentencepiece writes a space as ▁ and a byte as <0xNN>; its space before the first word of a text counts as one.

    Raises:
        ModelsError: the tokenizer is of neither kind.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    added, decoder = {token["id"]: token["content"] for token in state["added_tokens"]}, json.dumps(state["decoder"])
    if '"ByteLevel"' not in decoder and "\\u2581" not in decoder:
        raise ModelsError("The given models' tokenizer spells its tokens neither as bytes (like GPT-2's) nor as pieces "
                          "(like Llama's and Mistral's); others cannot be read here.")
    numbers = tokenizer.get_vocab()
    return [_bytes(added[numbers[name]].encode()) if numbers[name] in added else
            name if '"ByteLevel"' in decoder else _bytes(_piece(name)) for name in sorted(numbers, key=numbers.get)]


def _bytes(data: bytes) -> str:
    return "".join(BYTE_NAMES[byte] for byte in data)


def _piece(name: str) -> bytes:
    r"""The bytes of a sentencepiece token.

    >>> _piece("▁the"), _piece("<0x0A>")
    (b' the', b'\n')
    """
    found = re.fullmatch(r"<0x([0-9A-F]{2})>", name)
    return bytes([int(found[1], 16)]) if found else name.replace("▁", " ").encode()
