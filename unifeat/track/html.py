"""HTML out of Python values: whatever is not markup made here is escaped, so text out of a corpus never is markup."""

import html
import re

ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Markup made by `tag`."""


def tag(name: str, /, *children, **attributes) -> Html:
    """An element; attributes' names may end in _ and have _ for -; those of None and False are left out.

    >>> tag("p", "a < b", tag("b", 1), class_="x", data_n=None)
    '<p class="x">a &lt; b<b>1</b></p>'
    """
    stated = "".join(f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
                     for key, value in attributes.items() if value is not None and value is not False)
    if name in ("meta", "link"):
        return Html(f"<{name}{stated}>")
    if name in ("path", "line"):  # SVG
        return Html(f"<{name}{stated}/>")
    return Html(f"<{name}{stated}>{join(children)}</{name}>")


def join(children) -> Html:
    """Children one after the other, escaped unless they are markup."""
    return Html("".join(one if isinstance(one, Html) else _text(one) for one in children))


def _text(value) -> str:
    r"""A value as text of a page: what is markup escaped, characters that no page may hold or that turn text around
    replaced.

    >>> _text("<\u202e\x07")
    '&lt;��'
    """
    return html.escape(ODD.sub("\ufffd", str(value)))


def table(head: list, rows: list[list], **attributes) -> Html:
    """A table whose first column names its rows; it scrolls sideways where the page is narrow."""
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    return tag("div", tag("table", top, tag("tbody", *body), **attributes), class_="scroll", tabindex=0)


def percent(value) -> str:
    """A share as it is read.

    >>> percent(0.684), percent(0.0042), percent(None)
    ('68 %', '0.4 %', '–')
    """
    return "–" if value is None else f"{100 * value:.1f} %" if abs(value) < 0.0995 else f"{100 * value:.0f} %"
