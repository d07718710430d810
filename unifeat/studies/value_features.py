"""What features a value network has: its own SAEs beside those of the fine-tuned root and of the root (notebook 15).

The model that is steered does not change: what is new in a steered model lies in the value network. SAEs have the
length and the two seeds of the controls'; all read one common text.
"""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from unifeat import sae
from unifeat.lineage.run import Run
from unifeat.lineage.settings import Member
from unifeat.studies import baselines, checkpoints, dose, persistence, variants
from unifeat.studies.value_networks import possible, runs, tuned_stage, value_stage
from unifeat.support import parallel, tables

ARMS = {"value": "residual", "value_1": "residual_1", "value_pretrained": "pretrained_1"}
TUNED = "tuned"
COLUMNS = ["model_seed", "parent", "child", *dose.SHARE, "null_untrained"]
SWAPS = ["model_seed", "sae_model", "model", "seed", "l0", "fvu"]


def with_values(run: Run) -> Run:
    """The run with the tuned root and the value networks of ARMS as children of the root, and two SAEs a model."""
    root = checkpoints.root(run)
    made = {TUNED: tuned_stage(run, run, root)} | {name: value_stage(run, arm, root) for name, arm in ARMS.items()}
    members = {name: Member(label=name, parent=root) for name in made}
    return dataclasses.replace(variants.pair(variants.with_models(run, **members)), made=made)


def edges(run: Run) -> list[tuple[str, str]]:
    """The pairs of models that are compared: what a value network could be like, and itself; and the two of those."""
    root = checkpoints.root(run)
    return [(root, TUNED), *itertools.product((root, TUNED), ARMS)]


def prepare(run: Run) -> None:
    """Make all SAEs and comparisons ready, several at a time."""
    if not possible(run):
        return
    for one in map(with_values, runs(run)):
        names = [checkpoints.root(one), *one.made]
        parallel.side_by_side(one.sae_stage, names, one.lineage.sae.tokens * len(names), "SAEs of value networks")
        baselines.random_saes(one)
        pairs = persistence.seed_pairs(one, "controlled")
        persistence.ready(one, [(Run.look_stage, name) for name in names] + [
            (Run.compare, (name, s), (name, t)) for name in names
            for s, t in itertools.combinations(one.lineage.sae.seeds, 2)] + [
            (Run.compare, (a, s), (b, t)) for a, b in edges(one) for s, t in pairs] + [
            (baselines.random, (name, pairs[0][1])) for name in names], "matching of value networks")


def shared(run: Run) -> pd.DataFrame:
    """value_features.csv: per language-model seed and pair of models, shares as in persistence.csv, one-to-one at the
    lineage's tau; intervals are over documents."""
    if not possible(run):
        return pd.DataFrame(columns=COLUMNS)
    rows = []
    for number, one in enumerate(map(with_values, runs(run))):
        for parent, child in edges(one):
            rows += [dict(model_seed=number, parent=parent, child=child) | row
                     for row in dose.share_rows_with_untrained(one, parent, child)]
    return pd.DataFrame(rows, columns=COLUMNS)


def swaps(run: Run) -> pd.DataFrame:
    """value_swaps.csv: SAEs of the root, of the tuned root and its own on the activations of each value network, on
    held-out text: mean number of active latents (l0) and fraction of variance unexplained (fvu)."""
    if not possible(run):
        return pd.DataFrame(columns=SWAPS)
    return pd.concat([tables.read(_swap_stage(one)).assign(model_seed=number)
                      for number, one in enumerate(map(with_values, runs(run)))], ignore_index=True)[SWAPS]


def _swap_stage(run: Run):
    readers = (checkpoints.root(run), TUNED)

    def build(folder):
        rows, domains = [], run.lineage.domains
        blocks = np.concatenate([run.blocks(d, tokens=run.lineage.evaluation.tokens // len(domains)) for d in domains])
        for name in ARMS:
            which = [(reader, seed) for reader in (*readers, name) for seed in run.lineage.sae.seeds]
            found = sae.evaluate([run.sae(*one) for one in which], run.model(name), blocks)
            rows += [dict(sae_model=reader, model=name, seed=seed, l0=row["l0"], fvu=row["fvu"])
                     for (reader, seed), row in zip(which, found, strict=True)]
        tables.write(folder, rows, SWAPS[1:])

    return run.stage("value-swaps", build, run.lineage.evaluation,
                     [run.corpus_stage, *map(run.sae_stage, (*readers, *ARMS))])
