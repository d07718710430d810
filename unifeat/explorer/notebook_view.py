"""One feature inside a notebook: a rich view without scripts, and a browser of features where a kernel is live."""

from dataclasses import dataclass
from functools import lru_cache
from html import escape

import numpy as np

from unifeat.explorer import encoding, page
from unifeat.lineage.run import Run, open_run

SHADES = 30, 140  # of 255: how opaque the color behind a token is at least, and how much more at a feature's maximum
CONTRAST = 4.6  # of text on it, by WCAG's measure


@dataclass(frozen=True, eq=False)
class FeatureView:
    """A feature as the explorer's page shows it; a notebook draws it, `print` gives its explanation."""

    model: str
    entry: dict
    data: dict

    @property
    def told(self) -> list[str]:
        """Each explanation with its explainer and scores, that of the run's explainer first."""
        return [f"{text or 'no explanation'} ({explainer}: {_scores(*scores)})"
                for explainer, text, *scores in self.entry["told"]]

    def __str__(self) -> str:
        return f"{self.model}/{self.entry['id']}: {self.told[0]}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        f = self.entry
        matches = "".join(f"<td style='padding-right:1em'>{self._name(other)} <b>#{found[0]}</b>, r = {found[1]:.3f}"
                          "</td>" for other, found in f["match"].items())
        density = " &nbsp; ".join(f"{escape(domain['label'])} {100 * share:.2g} %"
                                  for domain, share in zip(self.data["domains"], f["density"], strict=True))
        others = [other for other, found in f["match"].items() if len(found) > 3]  # whose activations are here
        contexts = "".join(self._context(k, [self.model, *others]) for k in range(len(f["at"])))
        tokens = "".join(f"<div>{title}: {' '.join(self._code(t) for t in f[key])}</div>"
                         for title, key in (("promotes", "up"), ("suppresses", "down")))
        facts = f"fires on {f['fires']} tokens of the comparison text: {density}"
        told = "".join(f"<div>{escape(line)}</div>" for line in self.told)
        return (f"<div style='line-height:1.5'><b>{self._name(self.model)} feature #{f['id']}</b>{told}"
                f"<div style='opacity:.75'>{facts}</div><table><tr>{matches}</tr></table>{contexts}{tokens}</div>")

    def _context(self, k: int, models: list[str]) -> str:
        rows, width, tokens = [], self.data["width"], self.data["tokens"]
        for n, model in enumerate(models):
            shade = self.entry["shade"][n][k * width:(k + 1) * width]
            cells = "".join(self._cell(tokens[self.entry["at"][k] + i], int(level, 36) / encoding.LEVELS, model)
                            for i, level in enumerate(shade))
            line = f"<span style='font-family:monospace;white-space:pre-wrap'>{cells}</span>"
            name = f"<span style='display:inline-block;min-width:5.5em'>{self._name(model)}</span>"
            rows.append(f"<div>{name}{line}</div>")
        return f"<div style='border-top:1px solid #8884;padding:.3em 0'>{''.join(rows)}</div>"

    def _cell(self, token: int, value: float, model: str) -> str:
        text = escape(self.data["vocab"][token] if token else "¶")
        shade = f"{_heat(self.data['models'][model]['color'])}{round(SHADES[0] + SHADES[1] * value):02x}"
        return f"<span style='background:{shade}'>{text}</span>" if value else text

    def _name(self, model: str) -> str:
        """A model's name beside its color: text in that color would be lost on a dark page."""
        look = self.data["models"].get(model) or dict(short="Seed twin", color="transparent")
        style = f"border-left:.5em solid {look['color']};padding-left:.3em;font-weight:600"
        return f"<span style='{style}'>{escape(look['short'])}</span>"

    def _code(self, token: int) -> str:
        return f"<code style='white-space:pre'>{escape(self.data['vocab'][token].replace(' ', '·'))}</code>"


def _scores(simulation: float | None, detection: float | None) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in (("simulation", simulation), ("detection", detection))
                     if value is not None) or "no score"


@lru_cache
def _heat(color: str) -> str:
    """The color, as dark as white text on a dark page needs it, and as light as black text on a light page does."""
    rgb, opaque = np.array([int(color[i:i + 2], 16) for i in (1, 3, 5)]) / 255, sum(SHADES) / 255

    def light(page):
        mixed = opaque * rgb + (1 - opaque) * page
        return np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    while 1.05 / (light(0.07) + 0.05) < CONTRAST:
        rgb = 0.95 * rgb
    while (light(1) + 0.05) / 0.05 < CONTRAST or light(0.07) < 0.08:  # and it is seen on the dark page
        rgb = 0.05 + 0.95 * rgb
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)


def explore(feature: str = "", run: Run | None = None, frames: dict | None = None) -> FeatureView:
    """The view of a feature named as in the explorer, "tuned/123".

    feature: "" is the one explained best, of the first edge's child (of the first model where there are no edges).
    run: default the laptop lineage's (or UNIFEAT_LINEAGE's); frames: explanations, as for `page.write`.

    Raises:
        ValueError: there is no such model, or it has no live feature of that number on the explorer's pages.
    """
    found = _data(run or open_run(), frames)
    return _view(found, feature or _best(found))


def _data(run, frames=None) -> dict:
    found = page.dressed(run, page.told(page.data(run), frames or {}))
    return found | dict(tokens=run.comparison_text["blocks"].ravel())


def _first(found: dict) -> str:
    """The model that is shown first: the first edge's child."""
    return found["edges"][0]["child"] if found["edges"] else found["names"][0]


def _best(found: dict) -> str:
    """The feature of the first model that its explanation predicts best."""
    model = _first(found)
    entries = found["models"][model]["features"]
    return f"{model}/{max(entries, key=_simulation)['id'] if entries else 0}"


def _simulation(entry: dict) -> float:
    score = entry["told"][0][2]
    return -1.0 if score is None else score


def _view(found: dict, feature: str) -> FeatureView:
    model, _, number = feature.partition("/")
    entries = found["models"].get(model, {}).get("features", [])
    for entry in entries:
        if str(entry["id"]) == number:
            return FeatureView(model, entry, found)
    known = ", ".join(f"{model}/{entry['id']}" for entry in entries[:3]) or ", ".join(f"{m}/0" for m in found["models"])
    raise ValueError(f"There is no feature {feature!r}; name one as model/number, such as {known}.")


@dataclass(frozen=True, eq=False)
class Browser:
    """Widgets for a live kernel, and a feature's plain view for wherever the notebook is read without one."""

    widgets: object  # None where ipywidgets is not installed
    view: FeatureView

    def _repr_mimebundle_(self, **_) -> dict:
        live = self.widgets._repr_mimebundle_() if self.widgets is not None else {}
        return live | {"text/html": self.view._repr_html_(), "text/plain": str(self.view)}


def browser(run: Run | None = None) -> Browser:
    """Widgets to walk through features: model, search, list; and the view of the feature that `explore()` shows."""
    found = _data(run or open_run())
    try:
        import ipywidgets
    except ImportError:
        ipywidgets = None
    return Browser(_controls(found, ipywidgets) if ipywidgets else None, _view(found, _best(found)))


def _controls(found: dict, widgets):
    models = [(found["models"][name]["short"], name) for name in found["names"]]
    model = widgets.Dropdown(options=models, value=_first(found), description="Model")
    search = widgets.Text(placeholder="explanation or number", description="Search", continuous_update=False)
    chosen, shown = widgets.Select(options=[], rows=8, layout=dict(width="100%")), widgets.HTML()

    def fill(*_):
        entries = sorted(found["models"][model.value]["features"], key=lambda f: -_simulation(f))
        words = search.value.lower().split()
        texts = [(f"#{f['id']}  {' / '.join(text for _, text, *_ in f['told'])}", f["id"]) for f in entries]
        chosen.options = [(text, f"{model.value}/{number}") for text, number in texts
                          if all(word in text.lower() for word in words)]
        if chosen.options:
            chosen.index = 0
        show()

    def show(*_):
        shown.value = _view(found, chosen.value)._repr_html_() if chosen.value else "Nothing matches."

    model.observe(fill, "value")
    search.observe(fill, "value")
    chosen.observe(show, "value")
    fill()
    return widgets.VBox([widgets.HBox([model, search]), chosen, shown])
