"""Labels in a drawing: each where it hides nothing, or as little as can be."""

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from unifeat.plots.names import clipped


def wide(text: str, size: float, weight: str = "normal") -> float:
    """Inches across a text of one line; whole pixels, which letters take on a screen, may ask for 6 % more."""
    points = text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)[0]
    return 1.06 * points / 72


def fitted(text: str, inches: float, size: float, weight: str = "normal") -> str:
    """A text no wider than `inches`: whole, or its beginning and its end."""
    return next((short for room in range(len(text), 2, -1)
                 if wide(short := clipped(text, room), size, weight) <= inches), text[:1])


def edge_name(theme, parent: str, child: str, inches: float, size: float, weight: str = "normal") -> str:
    """An edge no wider than `inches`: on one line if it fits, else on two."""
    name = theme.edge(parent, child)
    if wide(name, size, weight) <= inches:
        return name
    first = fitted(theme.short(parent), inches - wide(" →", size, weight), size, weight)
    return f"{first} →\n{fitted(theme.short(child), inches, size, weight)}"


class Labels:
    """Puts texts into an axes whose limits and place on the page are final; remembers what is taken, in pixels."""

    def __init__(self, ax, pad=(3, 3)):
        """pad: pixels beside and above a text that others leave free, if they can."""
        self.ax, self.pad, self.taken, self.lines = ax, pad, [], []

    def block(self, x, y):
        """Takes the rectangle between the corners (x[0], y[0]) and (x[1], y[1]) of the axes' coordinates."""
        (a, b), (c, d) = self.ax.transData.transform(list(zip(x, y, strict=True)))
        self.taken.append((min(a, c), min(b, d), max(a, c), max(b, d)))

    def line(self, owner, points):
        """Notes a line through points (n, 2), on which only its owner's label should stand."""
        points = self.ax.transData.transform(points)
        way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        steps = np.arange(0.0, way[-1], 4.0)
        self.lines.append((owner, np.stack([np.interp(steps, way, points[:, k]) for k in (0, 1)], 1)))

    def put(self, lines, spots, owner=None, **style):
        """Writes lines (text, font size, color), one below the other, at the first free of `spots`, else the least bad.

        spots: (x, y, ha), y in the middle of the lines. Returns the texts.
        """
        texts = [self.ax.text(0, 0, text, fontsize=size, color=color, va="center", zorder=8, **style)
                 for text, size, color in lines]
        renderer = self.ax.figure.canvas.get_renderer()
        boxes = [text.get_window_extent(renderer) for text in texts]
        wide, heights = max(box.width for box in boxes), [box.height + 1 for box in boxes]
        costs = [self._cost(self._rectangle(spot, wide, sum(heights)), owner) for spot in spots]
        spot = spots[costs.index(min(costs))]
        rectangle = self._rectangle(spot, wide, sum(heights))
        self.taken.append(rectangle)
        y = rectangle[3]
        for text, height in zip(texts, heights, strict=True):
            text.set(x=spot[0], y=self.ax.transData.inverted().transform((0, y - height / 2))[1], ha=spot[2])
            y -= height
        return texts

    def _rectangle(self, spot, wide: float, high: float) -> tuple:
        x, y = self.ax.transData.transform(spot[:2])
        left = x - wide * {"left": 0, "center": 0.5, "right": 1}[spot[2]]
        return left, y - high / 2, left + wide, y + high / 2

    def _cost(self, box: tuple, owner) -> float:
        """Pixels of the box that are taken, 30 for each point of others' lines in it; 400 if its own line is not."""
        x0, y0, x1, y1 = np.add(box, [-self.pad[0], -self.pad[1], *self.pad])
        covered = sum(max(0.0, min(x1, c) - max(x0, a)) * max(0.0, min(y1, d) - max(y0, b))
                      for a, b, c, d in self.taken)
        inside = [(other, int(((x0 < points[:, 0]) & (points[:, 0] < x1) & (y0 < points[:, 1])
                               & (points[:, 1] < y1)).sum())) for other, points in self.lines]
        crossed = sum(hits for other, hits in inside if other != owner)
        return round(covered + 30.0 * crossed + 400.0 * (owner is not None and (owner, 0) in inside), 3)
