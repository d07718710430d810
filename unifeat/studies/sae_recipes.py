"""The frontier of SAE recipes: how far two seeds agree, against how faithful the SAE is (notebook 09)."""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies import axes, shares, sites
from unifeat.studies.variants import first_edge, other, variants
from unifeat.support import parallel

RULE = "one_to_one"
GOAL = dict(ceiling=0.8, ce_recovered_mean=0.95, per_neuron=4)  # no recipe's L0 is far above 64
BEYOND = "ceiling_beyond_neuron"


def train(run: Run) -> None:
    """Make the SAEs of all variants and recipes ready, several at a time; equal ones are trained once."""
    jobs = {(one.lineage.sae, name): one for found in variants(run).values() for _,
            one in found for name in first_edge(run)}
    jobs |= {(one.lineage.sae, name): one for one in sites.runs(run) for name in first_edge(run)}
    jobs |= {(one.lineage.sae, first_edge(run)[0]): one for _, _, one in _recipes(run)}
    parallel.side_by_side(lambda job, bar: jobs[job].sae_stage(job[1], bar), jobs,
                         sum(config.tokens for config, _ in jobs), "SAEs of the controls")


def frontier(run: Run) -> pd.DataFrame:
    """Recipes that differ from the lineage's in one thing, the lineage's own, and the neurons, on the first edge's
    parent.

    varied, value: what differs (adopted: nothing; reference: nothing but the length, that of all the others; neurons:
    the axes of what the SAE reads, never trained, whose ceiling is 1 by construction); width, k, tokens; l0,
    ce_recovered_mean, dead_share: means over two seeds; ceiling, ceiling_low, ceiling_high: share of the live features
    that the other seed finds again one-to-one at the lineage's tau; live, shared: how many these are. (A recipe under
    which latents fall silent raises the share without one more shared feature.) ceiling_beyond_neuron with its ends,
    live_beyond_neuron: the same of the features that are no single axis; per_neuron: latents per axis.
    """
    same = other(run).lineage.sae  # a change to what is there already is no recipe of its own
    rows = [dict(varied=varied, value=value) | _measure(one) for varied, value, one in _recipes(run)
            if varied == "reference" or one.lineage.sae != same]
    rows.append(dict(varied="neurons", value="") | _measure(axes.of_neurons(run)) | dict(tokens=0))
    frame = pd.DataFrame(rows)
    return frame.assign(per_neuron=2 * frame["width"] / rows[-1]["width"])


def _recipes(run: Run):
    p = run.lineage
    s = p.sae
    yield "adopted", "", run
    yield "reference", "", other(run)
    for share in p.controls.lengths:
        yield "length", f"{share:g}×", other(run, tokens=round(p.controls.tokens * share))
    for times in p.controls.expansions:
        yield "width", f"{times}×", other(run, width=times * p.model.d_mlp)
    for k in (max(1, s.k // 2), s.k * 8 // 5):
        yield "k", f"{k}", other(run, k=k, k_first=max(k, s.k_first))
    for times in (0.25, 0.5, 2):
        yield "learning rate", f"{times:g}×", other(run, lr=s.lr * times)
    yield "annealing", "none", other(run, k_anneal=0.0)
    for kind in p.controls.kinds:
        if kind != s.kind:
            yield "kind", kind, other(run, kind=kind)


def _measure(run: Run) -> dict:
    s, name = run.lineage.sae, first_edge(run)[0]
    table, twins = run.sae_table(name), run.twins(name)
    found, beyond = (shares.at(shares.ceiling(shares.Evidence(twins, dict(child=twins)), RULE, "child", features),
                               run.lineage.comparison.tau) for features in ("all", "beyond_neuron"))
    return dict(width=int(table["width"].iloc[0]), k=s.k, tokens=s.tokens, l0=table["l0"].mean(),
                ce_recovered_mean=table["ce_recovered_mean"].mean(), dead_share=table["dead_share"].mean(),
                live=table["live"].mean(), shared=found["ceiling"] * table["live"].mean(), **found,
                live_beyond_neuron=np.mean([run.subsets(name, seed)["beyond_neuron"].sum() for seed in s.seeds]),
                **{key.replace("ceiling", BEYOND): value for key, value in beyond.items()})


def answer(frame: pd.DataFrame) -> str:
    """Whether any recipe meets the goal, beyond single neurons and of all features, and what moves it at which cost."""
    own, ours = (frame[frame["varied"] == name].iloc[0] for name in ("adopted", "neurons"))
    enough = frame[(frame["ce_recovered_mean"] >= GOAL["ce_recovered_mean"])
                   & (frame["per_neuron"] >= GOAL["per_neuron"])]
    beyond, every = ("met" if (enough[name] >= GOAL["ceiling"]).any() else "not met" for name in (BEYOND, "ceiling"))
    near = enough.dropna(subset=[BEYOND])
    nearest = "no recipe recovers enough with enough latents and has features beyond single neurons"
    if len(near):
        best = near.loc[near[BEYOND].idxmax()]
        nearest = f"{_name(best)} reaches {_share(best, BEYOND)}, most of those that recover enough with enough latents"
    return (f"Frontier: the goal ({GOAL['ceiling']:.0%} one-to-one at {GOAL['ce_recovered_mean']:.0%} of cross-entropy "
            f"and {GOAL['per_neuron']} latents per neuron) is {beyond} beyond single neurons and {every} for all "
            f"features; beyond single neurons, {nearest}. The adopted recipe stands at {_share(own, BEYOND)}, for all "
            f"features at {_share(own, 'ceiling')} and {own['ce_recovered_mean']:.1%}, {own['shared']:,.0f} of its "
            f"{own['width']:,} latents. {_changes(frame)}The neurons themselves, never trained, stand at "
            f"{ours['ceiling']:.0%} by construction and recover {ours['ce_recovered_mean']:.1%} at L0 "
            f"{ours['l0']:.0f}.")


def _changes(frame: pd.DataFrame) -> str:
    """The single change that moves the ceiling beyond single neurons most, and the one that leaves it highest."""
    same = frame[frame["varied"] == "reference"].iloc[0]
    rest = frame[~frame["varied"].isin(["adopted", "reference", "neurons"])].dropna(subset=[BEYOND])
    if rest.empty or pd.isna(same[BEYOND]):
        return "No single change can be told from its features beyond single neurons. "
    most, best = rest.loc[(rest[BEYOND] - same[BEYOND]).abs().idxmax()], rest.loc[rest[BEYOND].idxmax()]
    parts = [f"by {100 * (row[BEYOND] - same[BEYOND]):+.0f} points to {_share(row, BEYOND)} (cross-entropy "
             f"{100 * (row['ce_recovered_mean'] - same['ce_recovered_mean']):+.1f} points, {row['per_neuron']:g} "
             f"latents per neuron, L0 {row['l0']:.0f}, {row['tokens'] / 1e6:g} M activations)" for row in (most, best)]
    said = (f"moves it most and leaves it highest, {parts[0]}" if most.equals(best) else
            f"moves it most, {parts[0]}, and {_name(best)} leaves it highest, {parts[1]}")
    return (f"Of single changes at {same['tokens'] / 1e6:g} M activations (unchanged: {same[BEYOND]:.0%} beyond single "
            f"neurons at {same['ce_recovered_mean']:.1%}), {_name(most)} {said}. ")


def _name(row) -> str:
    return f"the {row['varied']} recipe" if row["varied"] in ("adopted", "reference") else \
        f"{row['varied']} {row['value']}".strip()


def _share(row, name: str) -> str:
    if pd.isna(row[name]):
        return "an unknown share"
    return f"{row[name]:.0%} [{row[f'{name}_low']:.0%}, {row[f'{name}_high']:.0%}]"
