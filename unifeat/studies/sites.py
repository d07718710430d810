"""A control: SAEs at another place of the same layer, where no axis is privileged (notebook 09).

Inside an MLP every axis is a neuron, whose nonlinearity makes it special, and a latent that is one neuron is found by
nearly every SAE. The MLP's output is a sum of directions: its axes are those of the residual stream, which nothing sets
apart but the optimiser (Elhage et al. 2023, "Privileged Bases in the Transformer Residual Stream"). What is found again
there is not found for being one neuron.
"""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies import control_answers, controls, persistence
from unifeat.studies.variants import first_edge, other

OUTSIDE, INSIDE = "hook_mlp_out", "mlp.hook_post"
PLACES = {INSIDE: "inside the MLP", OUTSIDE: "the MLP's output", "hook_resid_post": "the block's output"}
SETS = {"all": "", "beyond_neuron": ", beyond one axis"}


def runs(run: Run) -> list[Run]:
    """The run with the controls' SAEs at the lineage's hook, and with as many latents at the MLP's output of the same
    layer (inside the MLP, where the lineage reads its output already)."""
    block, layer, own = run.lineage.sae.hook.split(".", 2)
    elsewhere = INSIDE if own == OUTSIDE else OUTSIDE
    return [other(run), other(run, hook=f"{block}.{layer}.{elsewhere}")]


def sites(run: Run) -> pd.DataFrame:
    """Are the shares those of single neurons? The first edge at both sites, all features and those beyond one axis.

    x: site and features; hook, features: the same for machines; share: of the child's live features, how many these
    are, mean over seeds. A feature is one axis where the cosine of its decoder with an axis of what the SAE reads
    reaches tau: with a neuron inside the MLP, with an axis of the residual stream at the MLP's output. The other
    columns as in `controls`, each set of features compared between the sites; l0, ce_recovered_mean, dead_share: of the
    parent's SAEs.
    """
    found, (parent, child) = [], first_edge(run)
    for one in runs(run):
        hook, evidence, table = one.lineage.sae.hook, persistence.evidence(one, parent, child), one.sae_table(parent)
        quality = {name: table[name].mean() for name in ("l0", "ce_recovered_mean", "dead_share")}
        for features, words in SETS.items():
            row, estimate = controls.judged(evidence, one.lineage.comparison.tau, features)
            part = np.mean([1.0 if features == "all" else one.subsets(child, seed)[features].mean()
                            for seed in one.lineage.sae.seeds])
            found.append((dict(x=PLACES[hook.split(".", 2)[2]] + words, hook=hook, features=features, share=part) | row
                          | quality, estimate))
    return controls.table(found, [(place, place + len(SETS)) for place in range(len(SETS))])


def answer(frame: pd.DataFrame) -> str:
    """Per site the ceiling of all features and of those beyond one axis, and whether the excess differs between sites.

    It differs where the interval of the difference, corrected for both sets of features, leaves out 0.
    """
    parts, excess = [], []
    for hook, rows in frame.groupby("hook", sort=False):
        every, beyond = (rows[rows["features"] == name].iloc[0] for name in SETS)
        parts.append(f"at {hook} two SAEs find {_share(every, 'ceiling')} of the features again, and "
                     f"{_share(beyond, 'ceiling')} of the {beyond['share']:.0%} that are no single axis")
        excess.append(every)
    verdict = "differs" if control_answers.apart(excess[0]) else "cannot be told apart"
    stated = " and ".join(f"{_share(row, 'excess')} at {row['hook']} (observed {row['observed']:.1%}, ceiling "
                          f"{row['ceiling']:.1%}, null {row['null']:.1%})" for row in excess)
    return (f"Site of the SAE: {'; '.join(parts)} (only inside the MLP is an axis a neuron). Excess persistence "
            f"{verdict}: {stated}.")


def _share(row, name: str) -> str:
    if pd.isna(row[name]):
        return "an unknown share"
    return f"{row[name]:.0%} [{row[f'{name}_low']:.0%}, {row[f'{name}_high']:.0%}]"
