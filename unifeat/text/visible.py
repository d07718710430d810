"""Tokens as a reader sees them: whitespace as signs, odd bytes by number."""

import re
import unicodedata

VISIBLE = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}


def show(token, printable=None) -> str:
    r"""A token (str or bytes) as it is printed: whitespace as signs, runs of it counted, what cannot be printed as
    ⟨0xNN⟩.

    printable(char): whether a character can be drawn; None for any that Unicode calls printable.

    >>> show(" x"), show("\n        "), show(b"\xe4")
    ('·x', '↵·×8', '⟨0xE4⟩')
    """
    if isinstance(token, bytes):
        token = token.decode("utf-8", "surrogateescape")
    text = "".join(VISIBLE.get(char) or (char if char.isprintable() and (printable is None or printable(char))
                                         and unicodedata.category(char) != "Cs" else _hex(char)) for char in token)
    return re.sub(r"([·↵→])\1{4,}", lambda run: f"{run[1]}×{len(run[0])}", text)


def _hex(char: str) -> str:
    return "".join(f"⟨0x{byte:02X}⟩" for byte in char.encode("utf-8", "surrogateescape"))
