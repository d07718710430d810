"""What a reader sees in a figure: its texts and colors, and texts that are cut off or lie on each other."""

from itertools import combinations

import matplotlib as mpl
from matplotlib.colors import to_hex

from unifeat import plots


def texts(fig) -> list:
    """Every text that a reader of the figure sees, as it is drawn."""
    with mpl.style.context(plots.STYLE, after_reset=True):
        fig.draw_without_rendering()
    hidden = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            hidden |= {label for label in axis.get_ticklabels(which="both") if not ax.axison
                       or not low - slack <= label.get_position()[axis is ax.yaxis] <= high + slack}
    return [text for text in fig.findobj(mpl.text.Text)
            if text.get_text().strip() and text.get_visible() and text not in hidden]


def read(fig) -> str:
    """What a reader of the figure can read, one text a line."""
    return "\n".join(text.get_text() for text in texts(fig))


def colors(fig) -> set:
    """Colors of all lines and patches, as #RRGGBB."""
    found = [line.get_color() for line in fig.findobj(mpl.lines.Line2D)]
    found += [patch.get_facecolor() for patch in fig.findobj(mpl.patches.Patch)]
    found += [patch.get_edgecolor() for patch in fig.findobj(mpl.patches.Patch)]
    return {to_hex(color).upper() for color in found if not isinstance(color, str) or color != "none"}


def faults(fig) -> list:
    """Texts that the edge of the page cuts off, and pairs of level texts that lie on each other."""
    renderer, page, level, found = fig.canvas.get_renderer(), fig.bbox.padded(1.0), [], []
    for text in texts(fig):
        box = text.get_window_extent(renderer)
        if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1)):
            found.append(text.get_text())
        if not text.get_rotation() % 90:
            level.append((box, text.get_text()))
    return found + [(one, other) for (a, one), (b, other) in combinations(level, 2)
                    if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2]
