"""Labels in a drawing: each where it hides nothing, or as little as can be."""


class Labels:
    """Puts texts into an axes whose limits and place on the page are final; remembers what is taken, in pixels."""

    def __init__(self, ax):
        self.ax, self.taken, self.lines = ax, [], []

    def block(self, x, y):
        """Takes the rectangle between the corners (x[0], y[0]) and (x[1], y[1]) of the axes' coordinates."""
        (a, b), (c, d) = self.ax.transData.transform(list(zip(x, y, strict=True)))
        self.taken.append((min(a, c), min(b, d), max(a, c), max(b, d)))

    def line(self, owner, points):
        """Notes the points (n, 2) of a line on which only its owner's label should stand."""
        self.lines.append((owner, self.ax.transData.transform(points)))

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
        """Pixels of the box that are taken, and 30 for every point in it of a line of others."""
        x0, y0, x1, y1 = box
        covered = sum(max(0.0, min(x1, c) - max(x0, a)) * max(0.0, min(y1, d) - max(y0, b))
                      for a, b, c, d in self.taken)
        crossed = sum(((x0 < points[:, 0]) & (points[:, 0] < x1) & (y0 < points[:, 1]) & (points[:, 1] < y1)).sum()
                      for other, points in self.lines if other != owner)
        return round(covered + 30.0 * crossed, 3)
