"""Where the models of a lineage stand in a figure: layers from left to right, children beside their parents.

A node is a model's name, or (parent, child, layer): the bend of an edge that passes a layer between its ends.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np


def layers(names, edges) -> dict[str, int]:
    """Layer of each model: edges on the longest path that leads to it.

    >>> layers("abcd", [("a", "b"), ("b", "c"), ("a", "c")])
    {'a': 0, 'b': 1, 'c': 2, 'd': 0}
    """
    depth = dict.fromkeys(names, 0)
    for _ in depth:
        for parent, child in edges:
            depth[child] = max(depth[child], depth[parent] + 1)
    return depth


def routes(depth: dict[str, int], edges) -> dict[tuple, list]:
    """Each edge as the nodes that it passes, one a layer: its parent, bends, its child.

    >>> routes({"a": 0, "b": 1, "c": 2}, [("a", "c")])
    {('a', 'c'): ['a', ('a', 'c', 1), 'c']}
    """
    return {(a, b): [a, *((a, b, k) for k in range(depth[a] + 1, depth[b])), b] for a, b in edges}


def columns(depth: dict[str, int], paths: dict[tuple, list]) -> list[list]:
    """The nodes of each layer, models before bends."""
    out = [[name for name in depth if depth[name] == k] for k in range(max(depth.values(), default=-1) + 1)]
    for path in paths.values():
        for bend in path[1:-1]:
            out[bend[2]].append(bend)
    return out


def places(nodes: list[list], paths: dict[tuple, list], size) -> dict:
    """How far down the middle of each node stands: near the mean of its neighbours, none upon another.

    nodes: those of each layer, in the order that decides where neighbours do not; size(node): its height, gap included.
    """
    before, after, nodes, y = defaultdict(list), defaultdict(list), [list(layer) for layer in nodes], {}
    for path in paths.values():
        for a, b in pairwise(path):
            before[b].append(a)
            after[a].append(b)
    for near, step in ((before, 1), (after, -1), (before, 1)):
        for layer in nodes[::step]:
            wish = {node: np.mean([y[one] for one in near[node]]) if near[node] else y.get(node, 0.0)
                    for node in layer}
            layer.sort(key=lambda node, wish=wish: round(wish[node], 6))
            y |= zip(layer, settled([wish[node] for node in layer], [size(node) for node in layer]), strict=True)
    return y


def settled(wishes, sizes) -> list[float]:
    """Middles nearest to `wishes` (least squares), in their order, of things of these sizes, none upon another.

    >>> settled([0.0, 0.0, 9.0], [2.0, 4.0, 2.0])
    [-1.5, 1.5, 9.0]
    """
    sizes = np.asarray(sizes, float)
    steps = np.concatenate([[0.0], np.cumsum((sizes[:-1] + sizes[1:]) / 2)])
    groups = []  # of things that touch: [mean of what they wish, size]
    for value in np.asarray(wishes, float) - steps:
        groups.append([value, 1])
        while len(groups) > 1 and groups[-2][0] >= groups[-1][0]:
            (a, n), (b, m) = groups[-2], groups.pop()
            groups[-1] = [(a * n + b * m) / (n + m), n + m]
    return [float(value + step) for value, step in
            zip((value for value, n in groups for _ in range(n)), steps, strict=True)]
