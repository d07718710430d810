"""What all figures share: style sheet, page, what is left out, writing without timestamps."""

import functools
import io
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.style  # noqa: F401  (makes mpl.style available without pyplot)
import numpy as np
from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter
from matplotlib.transforms import Bbox
from pandas import DataFrame

from unifeat.support import markdown
from unifeat.support.theme import GREY, Theme

STYLE = Path(__file__).parent / "unifeat.mplstyle"
WIDTH = 7.2  # inches, every figure: the text width of a page
MOST = 8  # models that a figure can hold


class Picture(Figure):
    """A Figure unknown to pyplot: nothing to close, and a notebook shows it once, as a cell's value."""

    def _repr_png_(self) -> bytes:
        return _render(self, "png", dpi=self.dpi)


@dataclass(frozen=True)
class LeftOut:
    """What a plot returns where a lineage has not the shape that the figure needs: one sentence that says so."""

    sentence: str

    def __str__(self) -> str:
        return self.sentence

    def _repr_markdown_(self) -> str:
        return f"*{markdown.plain(self.sentence)}*"


def crowded(models, figure: str, where: str) -> LeftOut | None:
    """What stands in a figure's place if there are more models than it can hold, else None.

    figure: its name in a sentence; where: the file that holds its numbers.

    >>> print(crowded(range(9), "The ladder", "data/ladder.csv"))
    The ladder shows at most 8 models, and here are 9; its numbers are in data/ladder.csv.
    """
    if len(models) <= MOST:
        return None
    return LeftOut(f"{figure} shows at most {MOST} models, and here are {len(models)}; its numbers are in {where}.")


def styled(draw):
    """Decorator: draw in the repository's style, whatever the reader's own settings, and freeze the layout.

    The layout is solved once, here, so that PDF, PNG and notebook agree and drawing twice changes no byte.
    """

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        with mpl.style.context(STYLE, after_reset=True):
            args, kwargs = map(_spelled, args), {name: _spelled(value) for name, value in kwargs.items()}
            fig = draw(*args, **kwargs)
            if isinstance(fig, LeftOut):
                return fig
            for text in fig.findobj(Text):
                text.set_text(drawable(text.get_text(), font_manager.findfont(text.get_fontproperties())))
            for axis in fig.findobj(Axis):  # which write their labels anew from these
                if isinstance(names := axis.get_major_formatter(), FixedFormatter):
                    names.seq = [drawable(name, font_manager.findfont("DejaVu Sans")) for name in names.seq]
            fig.get_layout_engine().execute(fig)
            fig.set_layout_engine("none")
            _rounded(fig)
        return fig

    return wrapper


def _spelled(value):
    """A theme, or a table with names of groups that were made of one, as `drawable` spells it."""
    spell = functools.partial(drawable, font=font_manager.findfont("DejaVu Sans"))
    if isinstance(value, Theme):
        return value.spelled(spell)
    return value.assign(group=value["group"].map(spell)) if isinstance(value, DataFrame) and "group" in value else value


def drawable(text: str, font: str) -> str:
    """A text whose characters the font in the file `font` has; others by their numbers, as boxes would look alike.

    >>> drawable("a 模", font_manager.findfont("DejaVu Sans"))
    'a ⟨U+6A21⟩'
    """
    if text.isascii():
        return text
    return "".join(char if ord(char) in _glyphs(font) or char in "\n\u200b" else f"⟨U+{ord(char):04X}⟩"
                   for char in text)


@functools.cache
def _glyphs(path: str) -> frozenset:
    return frozenset(font_manager.get_font(path).get_charmap())


def _rounded(fig) -> None:
    """Positions of panels to 5 digits: the solver's last digits differ from one drawing to the next."""
    todo = [fig]
    while todo:
        part = todo.pop()
        todo += part.subfigs
        if part is not fig:  # matplotlib has no public way to place a subfigure
            part._redo_transform_rel_fig(Bbox(part.bbox_relative.get_points().round(5)))
    for ax in fig.get_axes():
        ax.set_position([round(value, 5) for value in ax.get_position().bounds])


def picture(height: float, note: str = "", layout: str = "constrained") -> Picture:
    """An empty page-wide figure of `height` inches with `note` in small type along its bottom edge."""
    fig = Picture(figsize=(WIDTH, height))
    fig.set_layout_engine(layout)
    FigureCanvasAgg(fig)
    if note:
        text = textwrap.fill(note, int(WIDTH * 72 / 3.1))
        fig.supxlabel(text, x=0.008, ha="left", fontsize=5.8, color="#666666", linespacing=1.3)
    return fig


def write(fig: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes `stem`.pdf and `stem`.png (200 dpi); equal figures give equal bytes, at any time of day.

    Returns both paths. A file that already holds the same bytes is left alone.
    """
    stem = Path(stem)
    paths = (stem.with_name(stem.name + ".pdf"), stem.with_name(stem.name + ".png"))
    for path in paths:
        content = _render(fig, path.suffix[1:])
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(content)
            partial.replace(path)
    return paths


def _render(fig: Figure, kind: str, dpi=None) -> bytes:
    metadata = {"Software": None} if kind == "png" else {"CreationDate": None, "Creator": None,
                                                         "Producer": None}
    buffer = io.BytesIO()
    with mpl.style.context(STYLE, after_reset=True):
        fig.savefig(buffer, format=kind, metadata=metadata, dpi=dpi or mpl.rcParams["savefig.dpi"])
    return buffer.getvalue()


def tint(color, share: float):
    """`color` mixed with white: share 1 is the color, 0 is white.

    >>> tint("#000000", 0.25)
    (0.75, 0.75, 0.75)
    """
    return tuple(1 - share * (1 - channel) for channel in to_rgb(color))


def ink(color):
    """`color` dark enough to be read as text on white."""
    return tuple(0.72 * channel for channel in to_rgb(color))


def percent(value, digits: int = 1) -> str:
    """A share as text; a share that does not exist is a dash.

    >>> percent(0.1234), percent(float("nan")), percent(1, 0)
    ('12.3 %', '–', '100 %')
    """
    return f"{100 * value:.{digits}f} %" if finite(value) else "–"


def count(value) -> str:
    """A number with thousands separated; none is a dash.

    >>> count(10033), count(None)
    ('10,033', '–')
    """
    return f"{round(value):,}" if finite(value) else "–"


def short(value) -> str:
    """A large number to three digits.

    >>> short(4_213_000), short(131_072), short(950), short(1_250_000_000)
    ('4.21 M', '131 k', '950', '1.25 G')
    """
    if not finite(value):
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            number = value / size
            return f"{number:.{2 - int(math.log10(number))}f}{unit}"
    return f"{value:.0f}"


def finite(value) -> bool:
    """Whether `value` is a number that can be printed."""
    return value is not None and bool(np.isfinite(float(value)))


def spread(values, gap: float, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    """Positions nearest to `values` (n,), no two closer than `gap`: for labels at the ends of lines.

    They stay between low and high as long as there is room for all of them.

    >>> spread([0.0, 0.1, 5.0], gap=1.0).tolist(), spread([0.0, 0.1], gap=1.0, low=0.0).tolist()
    ([-0.45, 0.55, 5.0], [0.0, 1.0])
    """
    values = np.asarray(values, float)
    order = np.argsort(values, kind="stable")
    groups = []  # of labels that touch: [sum of the places they would like, size]
    for value in values[order]:
        groups.append([value, 1])
        while len(groups) > 1 and _start(groups[-2], gap) + groups[-2][1] * gap > _start(groups[-1], gap):
            (total, size), (more, extra) = groups[-2], groups.pop()
            groups[-1] = [total + more, size + extra]
    placed = np.array([_start(group, gap) + k * gap for group in groups for k in range(group[1])])
    steps = gap * np.arange(len(placed))
    placed = np.minimum(placed, high - steps[::-1])
    placed = np.maximum(placed, low + steps)
    result = np.empty(len(values))
    result[order] = placed
    return result


def _start(group, gap: float) -> float:
    total, size = group
    return total / size - gap * (size - 1) / 2


def ordered(found, preferred) -> list:
    """The values of `found`, each once: the preferred in their order, then the others."""
    found, preferred = dict.fromkeys(found), dict.fromkeys(preferred)
    return [key for key in preferred if key in found] + [key for key in found if key not in preferred]


def hint(ax, text: str):
    """Says in the middle of an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
