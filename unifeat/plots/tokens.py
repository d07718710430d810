"""Figures 3 and 4: what one feature does on a stretch of text, token by token, in every model."""

import functools
import re

import numpy as np
from matplotlib import font_manager
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from unifeat.plots.names import clipped
from unifeat.plots.style import GREY, WIDTH, crowded, finite, ink, ordered, picture, styled, tint

MONO = "DejaVu Sans Mono"
SIZE = 6.2  # points
GLYPH = 0.602 * SIZE / 72  # inches, the width of every character of the font
LEFT, RIGHT, PAD = (1.0, 1.7), 0.56, 0.045  # inches; the models' names take as much as they need between these
NAME = 0.0545  # inches, the mean width of a character of a name
ROW, LINE_GAP, TITLE, CASE_GAP = 0.165, 0.08, 0.31, 0.1
STRETCH = 1.25  # of the type, at most, where lines would leave room at the right
LONGEST = 16  # characters; a longer token is shrunk into this width
VISIBLE = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
DARKEST = 0.8  # tint of a model's color at its feature's maximum: text stays readable on it


@styled
def token_heatmap(cases: list, theme, note: str = ""):
    """Tokens of a context as boxes, one row per model, shaded by the activation of that model's feature.

    cases: list of dicts: title, rule (how the case was picked), tokens (list of str or bytes), activations
    {model: (n_tokens,) array or None}, r {model: Pearson's r with the reference feature, or NaN}, feature
    {model: index or None}; optionally reference (a model). Shading is activation / maximum of that feature
    over all cases. Spaces, line ends and tabs are drawn as signs; bytes that the font cannot show, as ⟨0xNN⟩.
    """
    models = ordered([model for case in cases for model in case["activations"]], theme.models)
    if out := crowded(models, "A token heat-map", "its table under data/"):
        return out
    names = _names(cases, theme, models)
    left = min(max(0.22 + NAME * max(map(len, names.values()), default=0), LEFT[0]), LEFT[1])
    plans = _stretched([_lines([show(token) for token in case["tokens"]], left) for case in cases], left)
    block = len(models) * ROW + LINE_GAP
    height = 0.34 + sum(TITLE + len(plan) * block + CASE_GAP for plan in plans)
    height = max(0.8, height + (0.12 * (1 + len(note) // 150) if note else 0))
    fig = picture(height, note, layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(height, 0))
    ax.axis("off")
    _scale(ax)
    y, peaks = 0.3, _peaks(cases)
    for number, (case, plan) in enumerate(zip(cases, plans, strict=True)):
        ax.text(0.08, y + 0.08, clipped(case["title"], 95), fontsize=8, fontweight="bold", va="center")
        ax.text(0.08, y + 0.21, clipped(case.get("rule", ""), 130), fontsize=6.3, color="#555555", va="center")
        y += TITLE
        for k, line in enumerate(plan):
            for row, model in enumerate(models):
                peak = peaks.get(_key(case, model, number), 0.0)
                _row(ax, case, line, y + row * ROW, model, theme.color(model), peak)
                name = names[model, number] if not k else names[model, None]
                ax.text(0.17, y + (row + 0.5) * ROW, name, va="center", fontsize=6.5, color=ink(theme.color(model)))
                if not k:
                    ax.text(WIDTH - 0.08, y + (row + 0.5) * ROW, _agreement(case, model), va="center", ha="right",
                            fontsize=6.5)
            y += block
        y += CASE_GAP
    return fig


def _names(cases: list, theme, models: list) -> dict:
    """What stands before a row: {(model, number of the case): name and feature, (model, None): name alone}."""
    out, room = {}, int((LEFT[1] - 0.22) / NAME)
    for model in models:
        out[model, None] = clipped(theme.short(model), room)
        for number, case in enumerate(cases):
            feature = case.get("feature", {}).get(model)
            index = "" if feature is None else f" #{feature}"
            out[model, number] = clipped(theme.short(model), room - len(index)) + index
    return out


def show(token) -> str:
    r"""A token (str or bytes) as it is printed: whitespace as signs, runs of it counted, odd bytes as ⟨0xNN⟩.

    >>> show(" x"), show("\n        "), show(b"\xe4"), show("\u4e2d")
    ('·x', '↵·×8', '⟨0xE4⟩', '⟨0xE4⟩⟨0xB8⟩⟨0xAD⟩')
    """
    if isinstance(token, bytes):
        token = token.decode("utf-8", "surrogateescape")
    glyphs = _glyphs()
    text = "".join(VISIBLE.get(char) or (char if ord(char) in glyphs and char.isprintable() else _hex(char))
                   for char in token)
    return re.sub(r"([·↵→])\1{4,}", lambda run: f"{run[1]}×{len(run[0])}", text)


@functools.cache
def _glyphs() -> frozenset:
    return frozenset(font_manager.get_font(font_manager.findfont(MONO)).get_charmap())


def _hex(char: str) -> str:
    return "".join(f"⟨0x{byte:02X}⟩" for byte in char.encode("utf-8", "surrogateescape"))


def _widths(texts: list) -> np.ndarray:
    return np.array([min(max(len(text), 1), LONGEST) * GLYPH + PAD for text in texts])


def _lines(texts: list, left: float) -> list:
    """Breaks tokens into as few lines as fit, of even length; a line is a list of (index, text, x, width)."""
    if not texts:
        return []
    widths = _widths(texts)
    room = WIDTH - left - RIGHT
    wanted = widths.sum() / max(1, np.ceil(widths.sum() / (0.97 * room)))
    lines, x = [[]], 0.0
    for index, (text, width) in enumerate(zip(texts, widths, strict=True)):
        if lines[-1] and (x + width > room or x >= wanted):
            lines.append([])
            x = 0.0
        lines[-1].append((index, text, left + x, width))
        x += width
    return lines


def _stretched(plans: list, left: float) -> list:
    """Widens all lines of all cases by one factor, so that the longest fills the width."""
    longest = max((x + width - left for plan in plans for line in plan for _, _, x, width in line[-1:]), default=1.0)
    factor = min(STRETCH, (WIDTH - left - RIGHT) / longest)
    return [[[(index, text, left + factor * (x - left), factor * width) for index, text, x, width in line]
             for line in plan] for plan in plans]


def _peaks(cases: list) -> dict:
    """(model, feature) -> largest activation over all cases; a case without a feature index stands alone."""
    peaks = {}
    for number, case in enumerate(cases):
        for model, values in case["activations"].items():
            values = np.nan_to_num(np.asarray(values, float)) if values is not None else np.zeros(1)
            key = _key(case, model, number)
            peaks[key] = max(peaks.get(key, 0.0), float(values.max(initial=0.0)))
    return peaks


def _key(case: dict, model: str, number: int):
    feature = case.get("feature", {}).get(model)
    return (model, feature) if feature is not None else (model, "case", number)


def _row(ax, case: dict, line: list, y: float, model: str, color, peak: float):
    """One model's boxes along a line of tokens, and its patch of color before them."""
    values = case["activations"].get(model)
    ax.add_patch(Rectangle((0.08, y + 0.02), 0.05, ROW - 0.04, color=color, lw=0))
    for index, text, x, width in line:
        value = 0.0 if values is None or not peak else np.nan_to_num(float(values[index])) / peak
        _box(ax, text, x, y, width, color, max(value, 0.0), known=values is not None)


def _agreement(case: dict, model: str) -> str:
    r = case.get("r", {}).get(model)
    if case.get("reference") == model:
        return "reference"
    if finite(r):
        return f"r = {r:.2f}"
    return "no match"


def _box(ax, text: str, x: float, y: float, width: float, color, value: float, known: bool):
    face = tint(color, DARKEST * min(value, 1.0)) if known else "white"
    ax.add_patch(Rectangle((x, y), width, ROW, facecolor=face, edgecolor="#C4C4C4", lw=0.35))
    dark = sum(weight * channel for weight,
               channel in zip((0.3, 0.59, 0.11), tint(face, 1), strict=True)) < 0.5
    shown = text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}…{text[1 - LONGEST:]}"
    size = SIZE * width / _widths([shown])[0] * min(1, LONGEST / max(len(shown), 1))
    ax.text(x + width / 2, y + ROW / 2, shown, family=MONO, fontsize=size, ha="center", va="center_baseline",
            color="white" if dark else "#1A1A1A" if known else GREY)


def _scale(ax):
    """The grey ramp that says what the shading means."""
    ramp = LinearSegmentedColormap.from_list("ramp", ["white", tint("#555555", DARKEST)])
    limits = ax.get_xlim(), ax.get_ylim()
    left = WIDTH - 0.9
    ax.imshow(np.linspace(0, 1, 64)[None], cmap=ramp, extent=(left, left + 0.6, 0.2, 0.1), aspect="auto")
    ax.set(xlim=limits[0], ylim=limits[1])
    ax.add_patch(Rectangle((left, 0.1), 0.6, 0.1, fill=False, lw=0.4, edgecolor="#999999"))
    ax.text(left - 0.06, 0.15, "activation / maximum of the feature   0", ha="right", va="center",
            fontsize=6.3)
    ax.text(left + 0.66, 0.15, "1", va="center", fontsize=6.3)
