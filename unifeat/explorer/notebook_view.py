"""One feature inside a notebook: a rich view without scripts, and a browser of features where a kernel is live."""

from dataclasses import dataclass
from html import escape

from unifeat.explorer import encoding, page
from unifeat.lineage.run import Run, open_run
from unifeat.plots.style import DOMAIN_NAMES, MODEL_COLORS, SHORT_NAMES

HEAT = MODEL_COLORS | {"base": "#808080"}  # behind text, on a light page and on a dark one


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
        matches = "".join(f"<td style='padding-right:1em'>{_name(other)} <b>#{found[0]}</b>, r = {found[1]:.3f}</td>"
                          for other, found in f["match"].items())
        density = " &nbsp; ".join(f"{escape(DOMAIN_NAMES.get(d, d))} {100 * share:.2g} %"
                                  for d, share in zip(self.data["domains"], f["density"], strict=True))
        others = [other for other in f["match"] if other != "twin"]
        contexts = "".join(self._context(k, [self.model, *others]) for k in range(len(f["at"])))
        tokens = "".join(f"<div>{title}: {' '.join(self._code(t) for t in f[key])}</div>"
                         for title, key in (("promotes", "up"), ("suppresses", "down")))
        facts = f"fires on {f['fires']} tokens of the probe: {density}"
        told = "".join(f"<div>{escape(line)}</div>" for line in self.told)
        return (f"<div style='line-height:1.5'><b>{_name(self.model)} feature #{f['id']}</b>{told}"
                f"<div style='opacity:.75'>{facts}</div><table><tr>{matches}</tr></table>{contexts}{tokens}</div>")

    def _context(self, k: int, models: list[str]) -> str:
        rows, width, tokens = [], self.data["width"], self.data["tokens"]
        for n, model in enumerate(models):
            shade = self.entry["shade"][n][k * width:(k + 1) * width]
            cells = "".join(self._cell(tokens[self.entry["at"][k] + i], int(level, 36) / encoding.LEVELS, model)
                            for i, level in enumerate(shade))
            line = f"<span style='font-family:monospace;white-space:pre-wrap'>{cells}</span>"
            rows.append(f"<div><span style='display:inline-block;width:5.5em'>{_name(model)}</span>{line}</div>")
        return f"<div style='border-top:1px solid #8884;padding:.3em 0'>{''.join(rows)}</div>"

    def _cell(self, token: int, value: float, model: str) -> str:
        text = escape(self.data["vocab"][token] if token else "¶")
        shade = f"{HEAT[model]}{round(30 + 140 * value):02x}"
        return f"<span style='background:{shade}'>{text}</span>" if value else text

    def _code(self, token: int) -> str:
        return f"<code style='white-space:pre'>{escape(self.data['vocab'][token].replace(' ', '·'))}</code>"


def _scores(simulation: float | None, detection: float | None) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in (("simulation", simulation), ("detection", detection))
                     if value is not None) or "no score"


def _name(model: str) -> str:
    """A model's name beside its color: text in that color would be lost on a dark page."""
    style = f"border-left:.5em solid {MODEL_COLORS.get(model, 'transparent')};padding-left:.3em;font-weight:600"
    return f"<span style='{style}'>{escape(SHORT_NAMES.get(model, 'Seed twin'))}</span>"


def explore(feature: str = "", run: Run | None = None, frames: dict | None = None) -> FeatureView:
    """The view of a feature named as in the explorer, "lua/123"; "" is the Lua feature that is explained best.

    run: default the laptop profile's (or UNIFEAT_PROFILE's); frames: explanations, as for `explorer.write`.

    Raises:
        ValueError: there is no such model, or it has no live feature of that number on the explorer's pages.
    """
    found = _data(run or open_run(), frames)
    return _view(found, feature or _best(found, "lua"))


def _data(run, frames=None) -> dict:
    found = page.told(page.data(run), frames or {})
    found["tokens"] = run.comparison_text["blocks"].ravel()
    return found


def _best(found: dict, model: str) -> str:
    scored = [f for f in found["models"][model]["features"] if f["told"][0][2] is not None]
    return f"{model}/{max(scored, key=lambda f: f['told'][0][2])['id']}" if scored else f"{model}/0"


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
    """Widgets to walk through features: model, search, list; and the view of the Lua feature that is explained best."""
    found = _data(run or open_run())
    try:
        import ipywidgets
    except ImportError:
        ipywidgets = None
    return Browser(_controls(found, ipywidgets) if ipywidgets else None, _view(found, _best(found, "lua")))


def _controls(found: dict, widgets):
    models = [(SHORT_NAMES[model], model) for model in found["models"]]
    model = widgets.Dropdown(options=models, value="lua", description="Model")
    search = widgets.Text(placeholder="explanation or number", description="Search", continuous_update=False)
    chosen, shown = widgets.Select(options=[], rows=8, layout=dict(width="100%")), widgets.HTML()

    def fill(*_):
        entries = sorted(found["models"][model.value]["features"], key=lambda f: -(f["told"][0][2] or 0))
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
