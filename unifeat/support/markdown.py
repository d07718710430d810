"""Text that is no markup: what a user's names and files hold, put into Markdown."""

import re


def plain(text: str) -> str:
    r"""A text that Markdown shows as it is, on one line; control characters by their numbers.

    >>> print(plain("a|b *c* <d>\n$e$ x_y"))
    a\|b \*c\* \<d>\\x0a\$e\$ x_y
    """
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return re.sub(r"(\b_|_\b|[\\`*$<\[|&~])", r"\\\1", text)
