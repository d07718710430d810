"""The figure of a track, as SVG: the share of features that persist at every threshold, with ceiling and nulls."""

from unifeat.track.html import Html, percent, tag

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 40
NULLS = {"untrained": "SAE of an untrained model", "rotated": "activations rotated",
         "within_token": "permuted within the token"}


def figure(tau: list[float], side: dict, at: float, label: str, which: str) -> Html:
    """One side's curves.

    tau: thresholds; side: share, ci_low, ci_high, ceiling (or none) and nulls over them; at: the threshold that the
    page speaks of; label: what the share is of; which: a or b, for the colour.
    """
    share = side["share"][min(range(len(tau)), key=lambda i: abs(tau[i] - at))]
    parts = [_axes(label), tag("line", x1=_x(at), x2=_x(at), y1=TOP, y2=HEIGHT - BOTTOM, class_="at"),
             tag("text", f"τ = {at:g}", x=_x(at) - 5, y=TOP + 10, text_anchor="end")]
    if None not in side["ci_low"]:
        there, back = _points(tau, side["ci_high"]), _points(tau[::-1], side["ci_low"][::-1])
        parts.append(tag("path", d=f"M{there}L{back}Z", class_=f"band {which}"))
    for name in NULLS:
        if name in side and None not in side[name]:
            parts.append(tag("path", d=f"M{_points(tau, side[name])}", class_=f"null {name}"))
    if "ceiling" in side and None not in side["ceiling"]:
        parts.append(tag("path", d=f"M{_points(tau, side['ceiling'])}", class_="ceiling"))
    if None not in side["share"]:
        parts.append(tag("path", d=f"M{_points(tau, side['share'])}", class_=f"share {which}"))
    told = f"{label} at every threshold; at {at:g} it is {percent(share)}." if share is not None else label
    box = f"0 0 {WIDTH} {HEIGHT}"
    return tag("svg", tag("title", told), *parts, viewBox=box, role="img", aria_label=told, class_="curve")


def legend(sides: list[dict]) -> Html:
    """What the lines mean, of those that are drawn."""
    drawn = {name for side in sides for name in side}
    names = [("share both", "observed, with its 95 % interval")]
    names += [("ceiling", "seed ceiling")] * ("ceiling" in drawn)
    names += [(f"null {name}", text) for name, text in NULLS.items() if name in drawn]
    return tag("ul", *(tag("li", tag("svg", tag("line", x1=0, x2=30, y1=6, y2=6, class_=kind), viewBox="0 0 30 12",
                                     aria_hidden="true"), f" {text}") for kind, text in names), class_="legend")


def _axes(label: str) -> Html:
    """Frame, ticks and their labels."""
    parts = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        parts += [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_y(value), y2=_y(value), class_="grid"),
                  tag("text", f"{100 * value:.0f} %", x=LEFT - 6, y=_y(value) + 4, text_anchor="end"),
                  tag("text", f"{value:g}", x=_x(value), y=HEIGHT - BOTTOM + 16, text_anchor="middle")]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", "threshold τ on Pearson’s r", x=middle, y=HEIGHT - 6, text_anchor="middle"))
    return tag("g", *parts, class_="axes")


def _points(tau: list[float], values: list[float]) -> str:
    return "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in zip(tau, values, strict=True))


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return TOP + (1 - value) * (HEIGHT - TOP - BOTTOM)
