"""The feature explorer: every live feature of a lineage's SAEs on one offline HTML page.

    page.write(run, run.figures / "explorer.html")

Of each model the SAE that `groups.seeds` names is shown. `collect.data` holds the features, with activations as
`encoding`'s digits; `dressed` adds the lineage, its labels and colors, and the shares that persist. A page above LIMIT
is made smaller by leaving out contexts, the weakest of every feature first, and says so.
"""

import json
from pathlib import Path

from unifeat.explorer.collect import QUANTILES, TOP, WIDTH, data, number
from unifeat.lineage.run import Run
from unifeat.studies import persistence
from unifeat.support import paths, store
from unifeat.support.errors import UnifeatError

__all__ = ["WIDTH", "data", "dressed", "render", "thinned", "told", "write"]
TEMPLATE = Path(__file__).with_name("explorer.html")
LIMIT = 15_000_000  # bytes of the page


def write(run: Run, path: str | Path, frames: dict | None = None, limit: int = LIMIT) -> str:
    """Write the page for `run`; returns a line that says where it is, its size, and what was left out to keep it small.

    frames: explanations to show before the lexical ones, as `explain.explained` gives them.

    Raises:
        UnifeatError: with one context per feature it would still be larger than `limit` bytes.
    """
    found = dressed(run, told(data(run), frames or {}), shares(run))
    for contexts in range(TOP + len(QUANTILES), 0, -1):
        page = render(thinned(found, contexts))
        if len(page) <= limit:
            break
    else:
        raise UnifeatError(f"The explorer of lineage {run.lineage.name} takes {len(page) / 1e6:.1f} MB even with one "
                           f"context per feature, more than {limit / 1e6:.1f} MB; lower MOST in "
                           "unifeat/explorer/collect.py.")
    store.write_bytes(Path(path), page)
    less = "" if contexts == TOP + len(QUANTILES) else (
        f", {contexts} instead of {TOP + len(QUANTILES)} contexts per feature to stay under {limit / 1e6:.0f} MB")
    return f"{paths.relative(Path(path))}, {len(page) / 1e6:.0f} MB{less}"


def shares(run: Run) -> dict[tuple[str, str], dict]:
    """Of each edge {side: observed, low and high end of its 95 % interval, ceiling, null}: one-to-one, at tau, means
    over the controlled pairs of seeds."""
    found = persistence.persistence(run)
    if not len(found):
        return {}
    nearest = found["tau"].iloc[(found["tau"] - run.lineage.comparison.tau).abs().argmin()]
    found = found[(found["arm"] == "controlled") & (found["rule"] == "one_to_one") & (found["tau"] == nearest)
                  & (found["features"] == "all") & (found["side"] != "both")]
    out = {}
    for row in found.itertuples():
        out.setdefault((row.parent, row.child), {})[row.side] = dict(
            observed=number(row.observed), low=number(row.ci_low), high=number(row.ci_high),
            ceiling=number(row.ceiling), null=number(row.null))
    return {edge: out[edge] for edge in run.lineage.edges if edge in out}


def dressed(run: Run, found: dict, shares: dict | None = None) -> dict:
    """The data with the lineage: names in order, edges and their `shares`, labels and colors of models and domains."""
    p, theme = run.lineage, run.theme
    models = {}
    for name in p.names:
        look = theme.model(name)
        models[name] = found["models"][name] | dict(
            label=look.label, short=look.short, phrase=look.phrase, color=look.color,
            parents=list(p.parents(name)), children=list(p.children(name)))
    domains = [dict(name=name, label=theme.domain(name).label, color=theme.domain(name).color) for name in p.domains]
    edges = [dict(parent=parent, child=child, shares=(shares or {}).get((parent, child))) for parent, child in p.edges]
    sources = sorted({one.source or p.corpora.source for one in p.text.values()})
    return found | dict(lineage=p.name, source=" and ".join(sources), tau=p.comparison.tau, names=list(p.names),
                        models=models, domains=domains, edges=edges)


def told(found: dict, frames: dict) -> dict:
    """The data with the explanations of `frames` ({model: frame}) before the lexical ones of the same features."""
    models = {}
    for name, model in found["models"].items():
        rows = {}
        if name in frames and (frames[name]["explainer"] != "lexical").any():
            rows = {row.feature: [row.explainer, row.explanation, number(row.simulation), number(row.detection)]
                    for row in frames[name].itertuples()}
        models[name] = model | dict(features=[f | dict(told=[rows[f["id"]], *f["told"]]) if f["id"] in rows else f
                                              for f in model["features"]])
    return found | dict(models=models)


def thinned(found: dict, contexts: int) -> dict:
    """The data with at most `contexts` of each feature; they stand strongest first."""
    def short(f):
        return f | dict(at=f["at"][:contexts], peak=f["peak"][:contexts], tops=min(f["tops"], contexts),
                        shade=[one[:contexts * found["width"]] for one in f["shade"]])

    return found | dict(models={name: model | dict(features=[short(f) for f in model["features"]])
                                for name, model in found["models"].items()})


def render(found: dict) -> bytes:
    """The page around the data. No text of it can end its script element: "<" is written as an escape."""
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    for char, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"),
                          ("\u2029", "\\u2029")):
        text = text.replace(char, escaped)
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", text).encode("utf-8", "backslashreplace")
