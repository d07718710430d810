"""Names of any length in a figure: clipped, on two lines, at a slant, and in legends no wider than the page."""

import textwrap

import numpy as np

from unifeat.plots.style import WIDTH

CHARACTER = 0.058  # inches, the mean width of a character at 7 points


def legend(fig, entries, loc: str = "outside upper center", **options):
    """A legend of (handle, text) pairs in as many columns as the page is wide."""
    handles, texts = zip(*entries, strict=True)
    columns = legend_columns(texts, options.get("fontsize", 7))
    texts = [f"\u200b{text}" if text.startswith("_") else text for text in texts]  # matplotlib leaves out "_..."
    return fig.legend(handles, texts, loc=loc, ncols=columns, **options)


def legend_columns(texts, size: float = 7) -> int:
    """Columns of a legend as wide as the page; a handle and the gaps beside it count as 7 characters."""
    def across(count):
        return sum(7 + max(map(len, part), default=0) for part in np.array_split(np.array(texts, object), count))

    return next((n for n in range(len(texts), 1, -1) if across(n) * size / 7 * CHARACTER <= WIDTH), 1)


def clipped(text: str, room: int) -> str:
    """A text of at most `room` characters: its beginning and its end, since names differ in either.

    >>> clipped("Tuned on chats", 9), clipped("Base", 9)
    ('Tune…hats', 'Base')
    """
    return text if len(text) <= room else f"{text[:room // 2]}…{text[len(text) - (room - 1) // 2:]}"


def arrow(theme, parent: str, child: str, room: int = 34) -> str:
    """An edge in at most `room` characters; the shorter name leaves its space to the longer."""
    texts, half = (theme.short(parent), theme.short(child)), (room - 3) // 2
    return " → ".join(clipped(one, max(half, room - 3 - len(other))) for one, other in (texts, texts[::-1]))


def level(names, inches: float) -> list[str] | None:
    """Names on two lines at most, none wider than `inches`; None if they do not fit."""
    room, out = int(inches / CHARACTER), []
    for name in names:
        parts = (textwrap.wrap(line, max(room, 1), break_long_words=False) for line in name.split("\n"))
        out.append([line for part in parts for line in part])
    fit = all(len(lines) <= 2 and all(len(line) <= room for line in lines) for lines in out)
    return ["\n".join(lines) for lines in out] if fit else None


def name_columns(ax, places, names, inches: float):
    """Names what stands in columns `inches` apart, at a slant where the names do not fit."""
    if (lines := level(names, inches)) is not None:
        ax.set_xticks(places, lines)
    else:
        ax.set_xticks(places, [clipped(name.replace("\n", " "), 26) for name in names], rotation=32, ha="right",
                      rotation_mode="anchor")
