"""Made-up explorer data of lineages of several shapes; text that would like to be markup is among it."""

import base64
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

from unifeat.explorer import collect, page
from unifeat.lineage.reading import read
from unifeat.lineage.settings import Member, Text

EVIL = "<script>document.title='owned'</script>"
VOCAB = ["<eos>", EVIL, "</script>", "<!--", "&amp;", " the", "↵", "\"'`", "𝄞", "\u2028"] + [f"w{i}" for i in range(30)]
SHAPES = {  # models with their parents; the first edge's child is shown first
    "diamond": dict(base="", lua="base", stories="base", merged="lua stories"),
    "chain": dict(a="", b="a", c="b"),
    "star": dict(root="", **{f"child{i}": "root" for i in range(1, 7)}),
    "roots": dict(left="", right="", both_="left right", last="both_ left"),
    "long": dict(zip("abcdefgh", ["", *"abcdefg"], strict=True)),
    "mixed": dict(base="", null="", tuned="base", small="base", merged="tuned small", next="merged", side="merged",
                  last="next base"),
    "single": dict(only=""),
    "unrelated": dict(one="", two="", three=""),
}
LOOKS = dict(base=dict(label="Base (English+Python)", short="Base", phrase="the base"),
             merged=dict(label="Merged (SLERP)", short="Merged", phrase="the merge"))


def lineage(shape="diamond", domains=("english", "python", "stories", "lua"), **looks):
    """A lineage of that shape; looks: {model: its label, color ...}."""
    models = {name: Member(given="x", parents=tuple(parents.split()), **LOOKS.get(name, {}) | looks.get(name, {}))
              for name, parents in SHAPES[shape].items()}
    return replace(read("smoke"), models=models, compare=(), text={d: Text(embedded=d) for d in domains})


def run(shape="diamond", **options):
    """A run that knows its lineage and its theme alone."""
    p = lineage(shape, **options)
    return SimpleNamespace(lineage=p, theme=p.theme)


def stored(p, count=12, kept=lambda j, a, b: j < 3):
    """Data as `collect.data` gives it: `count` features of each model; kept(j, a, b): whether number j persists."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(1, len(VOCAB), (4, 48)).astype("<u2")
    blocks[0, :10] = range(10)
    density = lambda j: [0.1, 0.01, 0.0, 0.001 * j][-len(p.domains):]  # noqa: E731
    models = {}
    for seed, name in enumerate(p.names):
        beside = collect.near(p, name)
        others = {m: ["0z5az0", 1.5] if m in beside else [] for m in p.names if m != name}
        models[name] = dict(seed=seed % 2, live=count + (not seed), features=[dict(
            id=10 * j, max=2.5, fires=j + 1, density=density(j), at=[0, 48, 60], peak=[3, 4, 5], tops=1,
            shade=["0z5" * page.WIDTH] * (1 + len(beside)), up=[1, 2], down=[5, 6],
            told=[["lexical", EVIL if j == 3 else f"word {j}", None if j == 5 else j / count, 0.5]],
            match={m: [10 * j, 0.9 - 0.05 * j, int(kept(j, *sorted((m, name)))), *more] for m, more in others.items()}
            | dict(twin=[7, 0.5, 0])) for j in range(count)])
    return dict(vocab=VOCAB, width=page.WIDTH, context=48, block_domain=[i % len(p.domains) for i in range(4)],
                models=models, blocks=base64.b64encode(blocks.tobytes()).decode())


def shares(p):
    """Shares as `page.shares` gives them: of edge number i the child's ceiling is 65 + i %, the parent's 75 + i %."""
    side = lambda share, top: dict(observed=share, low=share - 0.01, high=share + 0.01, ceiling=top, null=0.0)  # noqa: E731
    return {edge: dict(child=side(0.088, 0.65 + i / 100), parent=side(0.07, 0.75 + i / 100))
            for i, edge in enumerate(p.edges)}


def fake(count=12, shape="diamond", kept=lambda j, a, b: j < 3, **options):
    """What a page holds."""
    one = run(shape, **options)
    return page.dressed(one, stored(one.lineage, count, kept), shares(one.lineage))


def answers(**columns):
    """Explanations of a language model for two of Lua's features."""
    frame = dict(feature=[0, 40], explainer="a-model", explanation=["said & done", ""], simulation=[0.25, np.nan],
                 detection=[np.nan, np.nan])
    return {"lua": pd.DataFrame(frame | columns)}
