"""The part of a track's page that shows features: pairs, what emerged, what vanished, with the text they fire on."""

from unifeat.track.html import Html, tag
from unifeat.track.pairs import Context, Reader

PAIRS, UNMATCHED, OPEN = 200, 40, 3  # how many are shown, and how many of the pairs are open at first
CONTEXTS = 3


def matched(card: dict, reader: Reader) -> Html:
    """The best pairs, each with the text on which its features fire most."""
    rows, frame = [], card["pairs"]
    for n in range(min(PAIRS, len(frame["r"]))):
        facts = (f"A’s fires on {frame['fires_a'][n]:,} tokens and B’s on {frame['fires_b'][n]:,}; r with a twin of "
                 f"the own SAE: {_number(frame['twin_a'][n])} and {_number(frame['twin_b'][n])}")
        rows.append(_feature(reader, frame["r"][n], frame["a"][n], frame["b"][n], facts, n < OPEN))
    kept = sum(r >= card["tau"] for r in frame["r"])
    note = (f"{kept:,} one-to-one pairs reach r ≥ {card['tau']:g}; of all {len(frame['r']):,} the best {len(rows)} are "
            "listed, each with its r and the token on which either feature is strongest. In the text, the bar above a "
            "token is A’s feature and the bar below it B’s, each relative to its own greatest activation.")
    return tag("section", tag("h2", "Matched pairs"), tag("p", note, class_="soft small"), *rows)


def unmatched(card: dict, reader: Reader, kind: str) -> Html:
    """Features that emerged or vanished: where there is a twin, those that it finds again, which are no accident."""
    frame = card[kind]
    side, own, other = ("b", "B", "A") if kind == "emerged" else ("a", "A", "B")
    twinned = frame["found_by_twin"] is not None
    chosen = [n for n, r in enumerate(frame["twin"]) if not twinned or r is not None and r >= card["tau"]][:UNMATCHED]
    rows = []
    for n in chosen:
        facts = (f"It fires on {frame['fires'][n]:,} tokens; r with a twin of its own SAE: "
                 f"{_number(frame['twin'][n])}; beside it stands the feature of {other} most like it")
        rows.append(_feature(reader, frame["r"][n], frame["a"][n], frame["b"][n], facts, False, side))
    note = f"{frame['count']:,} features of {own} have no one-to-one partner in {other} at r ≥ {card['tau']:g}. "
    note += (f"{frame['found_by_twin']:,} of them are found again in a twin of {own}’s SAE and so are no accident of "
             f"one; the {len(rows)} of these that are least like any feature of {other} are listed." if twinned else
             f"Without a twin of {own}’s SAE one cannot tell which are accidents of this one; the {len(rows)} least "
             f"like any feature of {other} are listed.")
    title = "Emerged: only in B" if kind == "emerged" else "Vanished: only in A"
    return tag("section", tag("h2", title), tag("p", note, class_="soft small"), *rows)


def _feature(reader: Reader, r, a: int, b: int, facts: str, unfolded: bool, lead: str = "both") -> Html:
    """One pair: its r, both features with the token they are strongest on, and its contexts."""
    head = [tag("span", _number(r), class_="r")]
    for place, (side, number) in enumerate((("a", a), ("b", b))):
        if number >= 0:
            head.append(tag("span", tag("b", f"{side.upper()} {number}", class_=side), " ",
                            tag("code", reader.peak(place, number)), class_="other" if place else None))
    texts = [_text(one) for one in reader.contexts(a, b, CONTEXTS, lead)]
    return tag("details", tag("summary", *head), tag("p", facts, class_="soft small"), *texts,
               open="open" if unfolded else None)


def _text(one: Context) -> Html:
    """A context: every token with its two bars, the token that it was chosen for in bold."""
    spans = []
    for place, (token, a, b) in enumerate(zip(one.tokens, one.a, one.b, strict=True)):
        style = ";".join(f"--{name}:{100 * value:.0f}%" for name, value in (("x", a), ("y", b)) if value >= 0.005)
        shown = tag("u", token) if place == one.peak else token
        spans.append(tag("span", shown, style=style, title=f"A {a:.2f}, B {b:.2f}") if style else tag("span", shown))
    return tag("p", tag("span", one.domain, class_="domain"), *spans, class_="text")


def _number(value) -> str:
    return "–" if value is None else f"{value:.2f}"
