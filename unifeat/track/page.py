"""The page of a track: its card in words, a figure and examples, in one file that needs neither network nor scripts."""

from unifeat.track import curve
from unifeat.track.examples import matched, unmatched
from unifeat.track.found import Found
from unifeat.track.html import Html, percent, table, tag
from unifeat.track.pairs import Reader
from unifeat.track.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
NULLS = {"within_token": "within the token", "rotated": "rotated", "untrained": "untrained"}  # heads of columns
AGREE = {"within_token": "features permuted within their token agree", "rotated": "an SAE in rotated axes agrees",
         "untrained": "an SAE of an untrained model agrees"}
A, B = tag("b", "A", class_="a"), tag("b", "B", class_="b")
SAES = dict(of="SAE of", seed="seed", kind="kind", width="width", k="k", hook="hook point", l0="L0", fvu="FVU",
            dead_share="dead", live="live", layout="layout")  # heads of columns


def page(found: Found, card: dict) -> str:
    """The whole page; card: as `card.card` makes it of `found`."""
    names = {side: tag("span", card["labels"][side], class_=f"name {side}") for side in "ab"}
    head = [tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("title", f"What persists from {card['labels']['a']} to {card['labels']['b']}"),
            tag("link", rel="icon", href="data:,"), tag("style", Html(STYLE))]
    what = "features of two models" if card["kind"] == "model" else "two sparse autoencoders"
    reader = Reader(found)
    top = tag("header", tag("p", f"unifeat track: {what}, compared on the same text", class_="soft small"),
              tag("h1", "What persists from ", names["a"], " to ", names["b"]))
    warnings = tag("ul", *(tag("li", text) for text in card["warnings"]), class_="warn") if card["warnings"] else Html()
    main = tag("main", lead(card), warnings, shares(card), figures(card), matched(card, reader),
               unmatched(card, reader, "emerged"), unmatched(card, reader, "vanished"), about(card), reading(card))
    return f"<!DOCTYPE html>\n{tag('html', tag('head', *head), tag('body', top, main), lang='en')}\n"


def lead(card: dict) -> Html:
    """The answer in two sentences; A and B are what the heading names."""
    one, back = card["sides"]["persist"], card["sides"]["survive"]
    told = [tag("b", percent(one["share"])), " of the features of ", B, " were in ", A,
            f" already: they have a one-to-one partner there with r ≥ {card['tau']:g}"]
    if one["ceiling"] is not None:
        told += [". Two SAEs of ", B, f" itself, from different seeds, agree on {percent(one['ceiling'])}, and "
                                      f"{AGREE[one['null']]} on {percent(one['nulls'][one['null']])}"]
    if one["excess"] is not None:
        told += ["; of the way from there to the ceiling, that is ", tag("b", percent(one["excess"]))]
    return tag("p", *told, ". Of the features of ", A, ", ", tag("b", percent(back["share"])), " survive in ", B, ".",
               class_="lead")


def shares(card: dict) -> Html:
    """The table of shares, ceilings, nulls and excess."""
    sides, rows = card["sides"], []
    names = [name for name in NULLS if name in sides["persist"]["nulls"]]
    head = ["", "share", "95 %", "seed ceiling", *(f"null: {NULLS[name]}" for name in names), "excess", "95 %"]
    words = {"persist": [B, "’s features that persist"], "survive": [A, "’s features that survive"],
             "both": ["geometric mean of both"]}
    for key, label in words.items():
        one = sides[key]
        rows.append([tag("span", *label), tag("b", percent(one["share"])), _interval(one["ci"]),
                     percent(one["ceiling"]) if one["ceiling"] is not None else "none: give a twin",
                     *(percent(one["nulls"].get(name)) for name in names), percent(one["excess"]),
                     _interval(one["excess_ci"])])
    note = (f"Of {sides['persist']['features']:,.0f} live features of B and {sides['survive']['features']:,.0f} of A; "
            f"one-to-one, r ≥ {card['tau']:g}. Excess = (share − null) / (ceiling − null), over the greatest null. "
            f"Intervals: {card['intervals']}.")
    return tag("section", tag("h2", "Shares"), table(head, rows), tag("p", note, class_="soft small"))


def _interval(ends) -> str:
    return "–" if not ends or None in ends else f"{100 * ends[0]:.0f}–{100 * ends[1]:.0f} %"


def figures(card: dict) -> Html:
    """The threshold curves of both sides."""
    found = card["curve"]
    sides = (("persist", "b", "Share of B’s features that persist"),
             ("survive", "a", "Share of A’s features that survive"))
    parts = [tag("figure", tag("figcaption", label), curve.figure(found["tau"], found[key], card["tau"], label, side))
             for key, side, label in sides]
    return tag("section", tag("h2", "At every threshold"), tag("div", *parts, class_="figures"),
               curve.legend([found["persist"], found["survive"]]))


def about(card: dict) -> Html:
    """What the track was run on."""
    run = card["run"]
    counts = [(split, key) for split in ("train", "validation") for key in ("documents", "tokens")]
    texts = [[one["label"], *(f"{one[split][key]:,}" for split, key in counts)] for one in run["text"].values()]
    columns = [name for name in SAES if any(name in one for one in run["saes"])]
    saes = [[_cell(one.get(name)) for name in columns] for one in run["saes"]]
    facts = {
        "compared on": f"{run['compared_tokens']:,} tokens in {run['compared_documents']:,} held-out documents, "
                       f"{run['context']} tokens at a time; a feature is live if it fires on {run['min_fires']} of "
                       "them",
        **{f"model of {side.upper()}" if card["kind"] == "sae" else side.upper():
           f"{one['folder']} ({_weights(one['sha256'])})" for side, one in run["models"].items()},
        "L0 and FVU": run["measured"],
        "versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
        "machine": f"{run['machine']}, {run['device']}, {run['dtype']}",
        "time": f"its parts took {run['seconds_total']:,.0f} s together when they were made, two at a time",
        "asked for": ", ".join(f"{key}={value}" for key, value in card["asked"].items() if value)}
    return tag("section", tag("h2", "What it was run on"),
               table(["text", "training documents", "tokens", "held-out documents", "tokens"], texts),
               table([SAES[name] for name in columns], saes), definitions(facts), class_="small")


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _weights(hashes: dict[str, str]) -> str:
    """The name and hash of the first file that holds weights."""
    name = next((one for one in hashes if one.endswith(".safetensors")), next(iter(hashes)))
    return f"{name}: sha256 {hashes[name][:16]}…"


def reading(card: dict) -> Html:
    """The words of the page, defined."""
    words = {
        "feature": "A latent of a sparse autoencoder (SAE): a direction in the activations that fires on few tokens.",
        "r": "Pearson’s correlation of two features’ activations over all tokens of the comparison text.",
        "persists": f"It has a partner on the other side with r ≥ {card['tau']:g}, no partner being used twice "
                    "(Hungarian assignment with the greatest summed r).",
        "seed ceiling": "The same share between two SAEs of one and the same model, from different seeds. No "
                        "comparison of two models can be expected to do better.",
        "nulls": "The same share where there is nothing to share. Within the token: every row of B is that of another "
                 "place with the same token, so that only what the token alone decides is left. Rotated: B’s SAE reads "
                 "B’s activations in randomly rotated axes. Untrained: the other side is an SAE of the same "
                 "architecture with random weights.",
        "intervals": card["intervals"][:1].upper() + card["intervals"][1:] + "."}
    return tag("section", tag("h2", "How to read this"), definitions(words))


def definitions(words: dict[str, str]) -> Html:
    """A list of terms and what they mean."""
    return tag("dl", *(part for key, value in words.items() for part in (tag("dt", key), tag("dd", value))))
