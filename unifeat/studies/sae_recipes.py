"""The frontier of SAE recipes: how far two seeds agree, against how faithful the SAE is (notebook 09)."""

import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies import shares
from unifeat.studies.variants import first_edge, other, variants
from unifeat.support import parallel

RULE = "one_to_one"
GOAL = dict(ceiling=0.8, ce_recovered_mean=0.95)  # with at least 4 latents per neuron and L0 of at most 64


def train(run: Run) -> None:
    """Make the SAEs of all variants and recipes ready, several at a time; equal ones are trained once."""
    jobs = {(one.lineage.sae, name): one for found in variants(run).values() for _,
            one in found for name in first_edge(run)}
    jobs |= {(one.lineage.sae, first_edge(run)[0]): one for _, _, one in _recipes(run)}
    parallel.side_by_side(lambda job, bar: jobs[job].sae_stage(job[1], bar), jobs,
                         sum(config.tokens for config, _ in jobs), "SAEs of the controls")


def frontier(run: Run) -> pd.DataFrame:
    """Recipes that differ from the lineage's in one thing, and the lineage's own, on the first edge's parent.

    varied, value: what differs (adopted: nothing; reference: nothing but the length, that of all the others); width,
    k, tokens; l0, ce_recovered_mean, dead_share: means over two seeds; ceiling, ceiling_low, ceiling_high: share of
    the live features that the other seed finds again one-to-one at the lineage's tau; live, shared: how many these
    are. (A recipe under which latents fall silent raises the share without one more shared feature.)
    """
    same = other(run).lineage.sae  # a change to what is there already is no recipe of its own
    return pd.DataFrame([dict(varied=varied, value=value) | _measure(one) for varied, value, one in _recipes(run)
                         if varied == "reference" or one.lineage.sae != same])


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
    s, table = run.lineage.sae, run.sae_table(first_edge(run)[0])
    twins = run.twins(first_edge(run)[0])
    found = shares.at(shares.ceiling(shares.Evidence(twins, dict(child=twins)), RULE), run.lineage.comparison.tau)
    return dict(width=s.width, k=s.k, tokens=s.tokens, l0=table["l0"].mean(),
                ce_recovered_mean=table["ce_recovered_mean"].mean(), dead_share=table["dead_share"].mean(),
                live=table["live"].mean(), shared=found["ceiling"] * table["live"].mean(), **found)


def answer(frame: pd.DataFrame) -> str:
    """One sentence: where the adopted recipe stands, whether any recipe meets the goal, and what moves it most."""
    own = frame[frame["varied"] == "adopted"].iloc[0]
    same = frame[frame["varied"] == "reference"].iloc[0]
    meets = (frame["ceiling"] >= GOAL["ceiling"]) & (frame["ce_recovered_mean"] >= GOAL["ce_recovered_mean"])
    rest = frame[~frame["varied"].isin(["adopted", "reference"])]
    best = rest.loc[rest["ceiling"].idxmax()]
    verdict = "the goal is met" if meets.any() else "no recipe meets the goal"
    return (f"Frontier: {verdict} ({GOAL['ceiling']:.0%} one-to-one, {GOAL['ce_recovered_mean']:.0%} of cross-entropy "
            f"recovered); the adopted recipe stands at {own['ceiling']:.0%} [{own['ceiling_low']:.0%}, "
            f"{own['ceiling_high']:.0%}] and {own['ce_recovered_mean']:.1%}, {own['shared']:,.0f} of its "
            f"{own['width']:,} latents. Of single changes at "
            f"{same['tokens'] / 1e6:g} M activations (unchanged: {same['ceiling']:.0%}), {best['varied']} "
            f"{best['value']} gives the highest ceiling, {best['ceiling']:.0%} at {best['ce_recovered_mean']:.1%}.")
