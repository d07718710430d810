"""A model that nobody here made: what two doses of fine-tuning leave of its features, beside changes without meaning.

Notebook 20. The lineage is the profile `smollm2`: the model as a pinned package holds it, a gentle and a strong child,
its rounded copy, and the model moved at random as far as the strong child. SAEs read two places of the middle layer.
"""

from dataclasses import replace

import pandas as pd

from unifeat import lm
from unifeat.lineage import Lineage, demo, read
from unifeat.lineage.run import Run, opened
from unifeat.studies import baselines, dose, persistence
from unifeat.support import parallel

SITES = ("mlp.hook_post", "hook_resid_post")
COLUMNS = ["hook", "parent", "model", "trained", "rise_own", "rise_other", "weight_distance", "neuron_r", *dose.SHARE,
           "null_untrained"]


def lineage(smoke: bool = False) -> Lineage:
    """The study's lineage; smoke: at the sizes of `smoke`, with a small model made on the spot in the real one's place.
    """
    p = read("smollm2")
    if not smoke:
        return p
    tiny, (root,) = read("smoke"), p.roots
    members = p.models | {root: replace(p.models[root], given=str(demo.make() / "a"), revision="")}
    tokens = next(one.finetune.tokens for one in tiny.models.values() if one.finetune)
    members |= {name: replace(one, finetune=replace(one.finetune, tokens=tokens))
                for name, one in members.items() if one.finetune}
    return replace(p, models=members, corpora=tiny.corpora, model=tiny.model, evaluation=tiny.evaluation,
                   comparison=tiny.comparison, sae=replace(tiny.sae, tokens=60_000), shipped=False)


def runs(run: Run) -> dict[str, Run]:
    """The study's run at each of SITES of the middle layer, by hook point; figures go where those of `run` go."""
    p, found = lineage(run.lineage.name == "smoke"), {}
    middle = opened(p, run.figures).lineage.model.layers // 2
    for site in SITES:
        hook = f"blocks.{middle}.{site}"
        found[hook] = opened(replace(p, sae=replace(p.sae, hook=hook)), run.figures)
    return found


def prepare(run: Run) -> None:
    """Make all models and SAEs of the study ready, several at a time."""
    both = runs(run)
    first = next(iter(both.values()))
    first.train_models()
    jobs = [(one, name) for one in both.values() for name in one.lineage.names]
    parallel.side_by_side(lambda job, bar: job[0].sae_stage(job[1], bar), jobs,
                          sum(one.lineage.sae.tokens for one, _ in jobs), "SAEs of a model that others made")
    parallel.side_by_side(lambda one, bar: baselines.random_saes(one, bar), both.values(),
                          sum(one.lineage.sae.tokens for one in both.values()), "SAEs of an untrained model")
    for one in both.values():
        persistence.ready(one, persistence.comparisons(one), "matching")


def shares(run: Run) -> pd.DataFrame:
    """real_model.csv: per hook point and changed model, how far it moved and what persists from the given model.

    rise_own, rise_other: rise of the held-out loss (nats per token) on the children's text, and mean over the other
    domains; weight_distance, neuron_r (here of the axes of what the SAEs read): as in dose.csv; shares as in
    persistence.csv, one-to-one at the lineage's tau, with the null of an untrained model; intervals are over documents.
    """
    rows = []
    for hook, one in runs(run).items():
        (root,) = one.lineage.roots
        own = list(dict.fromkeys(d for member in one.lineage.models.values() if member.finetune
                                 for d in member.finetune.text))
        for name in one.lineage.children(root):
            rise = dose.risen(one, root, one, name)
            head = dict(hook=hook, parent=root, model=name, trained=bool(one.lineage.models[name].finetune),
                        rise_own=rise[own].mean(), rise_other=rise.drop(own).mean()) | dose.moved(one, root, one, name)
            rows += [head | row for row in dose.share_rows_with_untrained(one, root, name)]
    return pd.DataFrame(rows, columns=COLUMNS)


def answer(frame: pd.DataFrame, theme) -> str:
    """One sentence per hook point: what every change leaves of the given model's features."""
    said, rows = [], frame[frame["side"] == "both"]
    for hook, part in rows.groupby("hook", sort=False):
        every, beyond = (part[part["features"] == name].set_index("model") for name in ("all", "beyond_both"))
        told = ", ".join(
            f"{theme.short(name)} ({row['rise_own']:+.2f} nats on its text, {row['rise_other']:+.2f} on other text) "
            f"{_share(row)} ({_share(beyond.loc[name])} beyond token and neuron)" for name, row in every.iterrows())
        said.append(f"At {hook} ({lm.HOOKS[hook.split('.', 2)[2]]}) persist, both sides: {told}; within the token "
                    f"{every['null'].min():.0%} to {every['null'].max():.0%} stay, and an untrained model shares "
                    f"{every['null_untrained'].min():.0%} to {every['null_untrained'].max():.0%}.")
    return " ".join(said)


def _share(row) -> str:
    return f"{row['observed']:.0%} of {row['ceiling']:.0%}"
