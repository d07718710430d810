"""Along a model's bar: which of its features it shares with each parent and child, as spans from the bar's top."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from unifeat.plots.style import finite


class Tally:
    """flow.csv by key: edges (parent, child, kind) and parts (model, "in" or "out", label), each (features, share)."""

    def __init__(self, flow: pd.DataFrame, edges):
        self.edges, self.parts, known = {}, {}, set(edges)
        for row in flow.itertuples():
            value = (float(row.features) if finite(row.features) else 0.0, row.share)
            if (row.source, row.target) in known:
                self.edges.setdefault((row.source, row.target, row.kind), value)
            else:
                self.parts[row.source, "out", row.target] = self.parts[row.target, "in", row.source] = value
        self.parents = {child: [a for a, b in edges if b == child] for _, child in edges}
        self.children = {parent: [b for a, b in edges if a == parent] for parent, _ in edges}

    def edge(self, parent: str, child: str, kind: str) -> tuple[float, float]:
        """Features along an edge, and their share; none where nothing is known."""
        return self.edges.get((parent, child, kind), (0.0, np.nan))

    def live(self, name: str) -> float:
        """Live features: what persists and emerges into a model, or persists and disappears out of it."""
        found = [sum(features for _, _, (features, _) in self.parted(name, side)) for side in ("in", "out")]
        found += [self.edge(one, name, "persist")[0] + self.edge(one, name, "emerge")[0]
                  for one in self.parents.get(name, ())]
        found += [self.edge(name, one, "persist")[0] + self.edge(name, one, "disappear")[0]
                  for one in self.children.get(name, ())]
        return max(found)

    def parted(self, name: str, which: str) -> list[tuple]:
        """`split` of a model by all its parents ("in") or children ("out")."""
        return self.split(name, which, (self.parents if which == "in" else self.children).get(name, ()))

    def split(self, name: str, side: str, others) -> list[tuple]:
        """Parts of a model's features by which of the others they match: (label, model or "", (features, share)).

        In the order of the others, those that several match in the middle, those that none matches last.
        """
        keys = [(f"{other} only", other) for other in others]
        keys.insert((len(keys) + 1) // 2, ("both" if len(keys) == 2 else "several", ""))
        keys.append(("new" if side == "in" else "neither", ""))
        found = [(label, other, self.parts.get((name, side, label))) for label, other in keys]
        return [part for part in found if part[2]] if len(others) > 1 else []


@dataclass
class Side:
    """One side of a bar, in features below its top: (top, bottom) of what it shares with each other model, and none."""

    ends: dict[str, list[tuple]]
    rest: tuple = (0.0, 0.0)
    parts: list[tuple] = field(default_factory=list)  # (label, model or "", (features, share), (top, bottom))


def side(tally: Tally, name: str, which: str, others: list[str], below: list[float], live: float) -> Side:
    """Where the ribbons of one side meet a bar.

    others: parents (which "in") or children ("out") from top to bottom; below: how far below the bar each lies. One
    ribbon meets the bar's end that is nearer to the other model. Several meet the parts that each is known to share;
    if no parts are known they are evenly spaced, and an overlap of theirs says nothing.
    """
    kept = [tally.edge(*((other, name) if which == "in" else (name, other)), "persist")[0] for other in others]
    parts = tally.split(name, which, others)
    if parts:
        return _parted(parts, dict(zip(others, kept, strict=True)))
    if len(others) == 1:
        low = below[0] > 1e-6 * max(live, 1.0)
        span = (live - kept[0], live) if low else (0.0, kept[0])
        return Side({others[0]: [span]}, (0.0, span[0]) if low else (span[1], live))
    tops = [(live - n) * k / max(len(others) - 1, 1) for k, n in enumerate(kept)]
    return Side({other: [(top, top + n)] for other, top, n in zip(others, tops, kept, strict=True)})


def _parted(parts: list[tuple], kept: dict[str, float]) -> Side:
    ends = np.cumsum([0.0, *(features for _, _, (features, _) in parts)])
    spans = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    shared = next((span for (label, _, _), span in zip(parts, spans, strict=True) if label in ("both", "several")),
                  (0.0, 0.0))
    own = {other: span for (_, other, _), span in zip(parts, spans, strict=True) if other}
    out = {}
    for other, n in kept.items():
        top, bottom = own.get(other, (shared[0], shared[0]))
        rest = min(max(n - (bottom - top), 0.0), shared[1] - shared[0])  # what it shares with another one, too
        above = top < shared[0] or other not in own
        out[other] = ([(top, bottom), (shared[0], shared[0] + rest)] if above else
                      [(shared[1] - rest, shared[1]), (top, bottom)])
    last = spans[-1] if parts[-1][0] in ("new", "neither") else (0.0, 0.0)
    return Side(out, last, [(*part, span) for part, span in zip(parts, spans, strict=True)])


def joined(spans: list[tuple]) -> list[tuple]:
    """Spans without the empty ones, those that touch made one.

    >>> joined([(0, 2), (2, 2), (2, 3), (5, 6)])
    [(0, 3), (5, 6)]
    """
    out = []
    for top, bottom in spans:
        if bottom - top < 1e-9:
            continue
        if out and abs(out[-1][1] - top) < 1e-6:
            out[-1] = (out[-1][0], bottom)
        else:
            out.append((top, bottom))
    return out


def pieces(left: list[tuple], right: list[tuple]) -> list[tuple]:
    """Ribbons from spans to spans of the same features in the same order: (left span, right span) of each.

    >>> pieces([(0, 4)], [(0, 1), (7, 10)])
    [((0.0, 1.0), (0.0, 1.0)), ((1.0, 4.0), (7.0, 10.0))]
    """
    sides = [joined(left), joined(right)]
    if not all(sides):
        return []
    ways = [np.cumsum([0.0, *(bottom - top for top, bottom in spans)]) for spans in sides]
    cuts = np.unique(np.round(np.concatenate([way / way[-1] for way in ways]), 9))

    def part(k, a, b):
        way, spans = ways[k], sides[k]
        one = int(np.searchsorted(way, (a + b) / 2 * way[-1])) - 1
        return tuple(float(spans[one][0] + share * way[-1] - way[one]) for share in (a, b))

    return [(part(0, a, b), part(1, a, b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
