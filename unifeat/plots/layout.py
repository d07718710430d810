"""Where the models of a lineage stand in a drawing: layer by layer, from the roots to the right."""


def layers(theme) -> list[list[str]]:
    """Models by the longest way from a root; within a layer those with upper parents come first.

    >>> from unifeat.support.theme import Look, theme
    >>> layers(theme({name: Look() for name in "abcd"}, {}, (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))))
    [['a'], ['b', 'c'], ['d']]
    """
    above = {name: [a for a, b in theme.edges if b == name] for name in theme.models}
    depth = {}

    def of(name):
        if name not in depth:
            depth[name] = 1 + max(map(of, above[name]), default=-1)
        return depth[name]

    out = [[name for name in theme.models if of(name) == level] for level in range(1 + max(map(of, theme.models)))]
    for upper, layer in zip(out, out[1:], strict=False):
        def place(name, upper=upper):
            rows = [upper.index(parent) for parent in above[name] if parent in upper]
            return sum(rows) / len(rows) if rows else 0.0

        layer.sort(key=place)  # stable: the lineage's order stays among equals
    return out
