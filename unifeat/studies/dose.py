"""What persists against what was learned: the same children at several doses of training (notebook 11).

A dose is a learning rate, as a multiple of the child's own, at the child's own tokens and text. Dose 0 is the parent
itself, compared with SAEs that differ in seeds, in text, or in both: a check of the instrument.
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.sae import features
from unifeat.studies import across, merge_sweep, persistence, shares, variants
from unifeat.support import parallel, tables

RULE, FEATURES = "one_to_one", shares.FEATURES[:4]
TAUGHT = ["gain_nats", "forgetting_nats", "weight_distance", "neuron_r"]
SHARE = ["features", "side", "observed", "ci_low", "ci_high", "ceiling", "ceiling_low", "ceiling_high", "null",
         "excess", "excess_low", "excess_high"]
COLUMNS = ["child", "model_seed", "dose", "lr", "tokens", *TAUGHT, *SHARE]
ZERO = ["model", "differs", "sae_text", *SHARE]
MERGES = ["merge", "model_seed", "dose", "parent", "t", "kept", *SHARE]
DIFFERS = ("seeds", "text", "both")


def children(run: Run) -> tuple[str, ...]:
    """The first root's children that are fine-tuned: those that get other doses."""
    root = run.lineage.roots[0]
    return tuple(name for name in run.lineage.children(root) if run.lineage.models[name].finetune)


def dosed(run: Run, dose: float, seed: int = 0) -> Run:
    """The run with all `children` trained at `dose` times their learning rate, from another seed (added to theirs), and
    with two SAEs a model of the length of the controls'."""
    members = {}
    for name in children(run):
        one = run.lineage.models[name]
        how = one.finetune
        members[name] = replace(one, finetune=replace(how, lr=how.lr * dose, seed=how.seed + seed))
    return variants.pair(variants.with_models(run, **members))


def runs(run: Run) -> dict[tuple[float, int], Run]:
    """The run at every dose and seed of the lineage's studies."""
    s = run.lineage.studies
    return {(dose, seed): dosed(run, dose, seed) for dose, seed in itertools.product(s.doses, s.seeds)}


def merges(run: Run) -> tuple[str, ...]:
    """Models that are merged here from two of the `children`."""
    return tuple(name for name, one in run.lineage.models.items()
                 if one.merge and one.ends and {*one.merge} <= {*children(run)})


def prepare(run: Run) -> None:
    """Make all models and SAEs of the study ready, several at a time."""
    doses = runs(run)
    trained = [(key, name) for key in doses for name in children(run)]
    parallel.side_by_side(lambda job, bar: doses[job[0]].model_stage(job[1], bar), trained,
                          sum(doses[key].lineage.models[name].finetune.tokens for key, name in trained),
                          "children at other doses")
    jobs = [(one, name) for (_, seed), one in doses.items() for name in
            (*children(run), *(merges(run) if seed == run.lineage.studies.seeds[0] else ()))]
    jobs += [(one, run.lineage.roots[0]) for one in (doses[next(iter(doses))], *(two for _, _, two in _zeros(run)))]
    parallel.side_by_side(lambda job, bar: job[0].sae_stage(job[1], bar), jobs,
                          sum(one.lineage.sae.tokens for one, _ in jobs), "SAEs at other doses")
    persistence.ready(run, _comparisons(run), "matching at other doses")


def _comparisons(run: Run) -> list[tuple]:
    """The comparisons that the shares need, as calls for `persistence.ready`; first what all comparisons of a model
    would wait for, then twins, which the rest needs."""
    root, looks, twins, pairs = run.lineage.roots[0], [], [], []
    for (_, seed), one in runs(run).items():
        edges = [(root, child) for child in children(run)]
        if seed == run.lineage.studies.seeds[0]:
            edges += [(parent, name) for name in merges(run) for parent in one.lineage.models[name].merge]
        names = dict.fromkeys(name for edge in edges for name in edge)
        looks += [(persistence.within, one, Run.look_stage, name) for name in names]
        twins += [(persistence.within, one, Run.compare, (name, a), (name, b)) for name in names
                  for a, b in itertools.combinations(one.lineage.sae.seeds, 2)]
        pairs += [(persistence.within, one, Run.compare, (parent, a), (child, b)) for parent, child in edges
                  for a, b in persistence.seed_pairs(one, "controlled")]
    return looks + twins + pairs


def doses(run: Run) -> pd.DataFrame:
    """dose.csv: per child, seed of its training and dose what it learned, forgot and moved, and what persists.

    gain_nats: fall of the loss (nats per token) on the child's own domains against the parent, mean over domains;
    forgetting_nats: its rise on the parent's; weight_distance: |child - parent| / |parent| over all weights;
    neuron_r: median over MLP neurons (axes of what the SAEs read) of Pearson's r between parent and child.
    Shares as in persistence.csv, one-to-one at the lineage's tau; intervals are over documents.
    """
    root, rows = run.lineage.roots[0], []
    for (dose, seed), one in runs(run).items():
        for child in children(run):
            how = one.lineage.models[child].finetune
            head = dict(child=child, model_seed=seed, dose=dose, lr=how.lr, tokens=how.tokens)
            head |= taught(one, root, child)
            rows += [head | row for row in share_rows(persistence.evidence(one, root, child),
                                                      run.lineage.comparison.tau)]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["child", "model_seed", "dose"], kind="stable",
                                                           ignore_index=True)


def share_rows(evidence: shares.Evidence, tau: float) -> list[dict]:
    """The columns SHARE for every set of FEATURES and side, one-to-one at tau."""
    return [dict(features=name, side=side) | shares.at(shares.measured(evidence, RULE, side, name), tau)
            for name in FEATURES for side in shares.SIDES]


def share_rows_with_untrained(run: Run, parent: str, child: str) -> list[dict]:
    """`share_rows` of a pair at the lineage's tau, each with null_untrained: the share that the SAE of an untrained
    model has of the same features."""
    rows = share_rows(persistence.evidence(run, parent, child), run.lineage.comparison.tau)
    for row in rows:
        null = persistence.untrained(run, (parent, child), row["side"], RULE, row["features"])
        row["null_untrained"] = null[shares.number(run.lineage.comparison.tau)]
    return rows


def taught(run: Run, parent: str, child: str) -> dict[str, float]:
    """What training changed in a child: the columns TAUGHT, as `doses` says."""
    rise = risen(run, parent, run, child)
    own, before = (list(run.lineage.mix(name)[0]) for name in (child, parent))
    return dict(gain_nats=-rise[own].mean(), forgetting_nats=rise[before].mean()) | moved(run, parent, run, child)


def risen(run: Run, parent: str, other: Run, child: str) -> pd.Series:
    """By domain, how far the held-out loss (nats per token) of `child` in a run lies above that of `parent`."""
    held = [one.losses(name).query("split == 'validation'").set_index("domain")["loss_nats"]
            for one, name in ((run, parent), (other, child))]
    return held[1] - held[0]


def moved(run: Run, parent: str, other: Run, child: str) -> dict[str, float]:
    """weight_distance and neuron_r, as `doses` says, of `child` in another run from `parent` in this one."""
    ends = ((run, parent), (other, child))

    def build(folder):
        both = [one.model(name) for one, name in ends]
        x, y = (features.text_activations(one, run.comparison_text["blocks"], run.lineage.sae.hook).double().cpu()
                for one in both)
        tables.write(folder, [dict(weight_distance=distance(*(one.state_dict() for one in both)),
                                   neuron_r=float(np.nanmedian(same_r(x.numpy(), y.numpy()))))], TAUGHT[2:])

    made = run.stage(f"moved-{parent}-{child}", build, [run.lineage.sae.hook, run.lineage.comparison.tokens],
                     [run.corpus_stage, *(one.model_stage(name) for one, name in ends)])
    return tables.read(made).iloc[0].to_dict()


def distance(parent: dict, child: dict) -> float:
    """|child - parent| / |parent|, Frobenius norms over all weights of two state dicts.

    >>> import torch
    >>> one = torch.tensor([3.0, 4.0])
    >>> distance({"w": one}, {"w": one + torch.tensor([0.0, 1.0])})
    0.2
    """
    moved, whole = (sum(float(value.double().pow(2).sum()) for value in values) ** 0.5 for values in
                    ([child[name].double() - value.double() for name, value in parent.items()], parent.values()))
    return moved / whole


def same_r(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r between column j of x and column j of y, both (tokens, d); NaN where one does not vary.

    >>> same_r(np.array([[0.0, 1], [1, 1], [2, 4]]), np.array([[0.0, -1], [2, -1], [4, -4]])).round(6).tolist()
    [1.0, -1.0]
    """
    x, y = x - x.mean(0), y - y.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0))


def _zeros(run: Run):
    """(what differs, whose text the second SAEs read, run with them): dose 0."""
    later = tuple(max(run.lineage.sae.seeds) + 1 + place for place in range(len(run.lineage.sae.seeds)))
    yield "seeds", "common", variants.other(run, seeds=later)
    for child in children(run):
        yield "text", child, variants.other(run, text=child)
        yield "both", child, variants.other(run, text=child, seeds=later)


def zero(run: Run) -> pd.DataFrame:
    """dose_zero.csv: the parent against itself, through SAEs with other seeds, of a child's text, or both.

    Nothing changed, so a share below the ceiling (of each side's own seed twins) is the instrument's doing. Intervals
    are over documents and SAE seeds.
    """
    root, tau, one, rows = run.lineage.roots[0], run.lineage.comparison.tau, variants.other(run), []
    for differs, text, two in _zeros(run):
        found = across.evidence(f"zero-{differs}-{text}", one, root, two, root)
        rows += [dict(model=root, differs=differs, sae_text=text) | row for row in share_rows(found, tau)]
    return pd.DataFrame(rows, columns=ZERO)


def merged(run: Run) -> pd.DataFrame:
    """dose_merges.csv: what a merge of the children keeps at every dose, of the first seed's children.

    t: where both parents keep the same share of their accuracy on their own text; kept: that share; the other columns
    are of the pair parent -> merge, as in `doses`.
    """
    rows = []
    for (dose, seed), one in runs(run).items():
        for name in merges(run) if seed == run.lineage.studies.seeds[0] else ():
            t, kept = one.merge_t(name), merge_sweep.curves(one, name, one.merge_sweep(name))
            for parent, of in kept[kept["source"] == merge_sweep.OURS].groupby("parent", sort=False):
                head = dict(merge=name, model_seed=seed, dose=dose, parent=parent, t=t,
                            kept=np.interp(t, of["t"], of["kept"]))
                rows += [head | row for row in share_rows(persistence.evidence(one, parent, name),
                                                       run.lineage.comparison.tau)]
    return pd.DataFrame(rows, columns=MERGES)


def answer(frame: pd.DataFrame, theme=None) -> str:
    """One sentence per child: what it learned and what persists, at the lowest dose, the highest, and its own."""
    parts, means = [], ["gain_nats", "observed", "ceiling", "null"]
    for child, rows in frame[frame["side"] == "both"].groupby("child", sort=False):
        mean = rows.groupby(["features", "dose"])[means].mean()
        every, beyond = mean.loc["all"], mean.loc["beyond_both"]
        low, own, high = every.index[0], every.index[np.abs(np.log(every.index)).argmin()], every.index[-1]
        parts.append(f"{theme.short(child) if theme else child}: from {low:g} to {high:g} times its rate it gains "
                     f"{every['gain_nats'][low]:.2f} to {every['gain_nats'][high]:.2f} nats, and of its features "
                     f"persist {_share(every, low)} to {_share(every, high)} (beyond token and neuron "
                     f"{_share(beyond, low)} to {_share(beyond, high)}); at {own:g} times, "
                     f"{every['gain_nats'][own]:.2f} nats and {_share(every, own)} "
                     f"({_share(beyond, own)}), with a null of {every['null'][own]:.0%}.")
    seeds = frame["model_seed"].nunique()
    return " ".join(parts) + f" Means of {seeds} training seed{'s' if seeds > 1 else ''}, both sides, one to one."


def _share(rows: pd.DataFrame, dose: float) -> str:
    return f"{rows['observed'][dose]:.0%} of {rows['ceiling'][dose]:.0%}"


def answer_zero(frame: pd.DataFrame) -> str:
    """Whether the unchanged model passes: with other SAE seeds every share lies within its ceiling's interval."""
    rows = frame[frame["differs"] == "seeds"]
    within = rows["observed"].between(rows["ceiling_low"], rows["ceiling_high"])
    whole = frame[(frame["side"] == "both") & (frame["features"] == "all")].set_index("differs")
    named = {"seeds": "SAEs of other seeds", "text": "SAEs of a child's text", "both": "SAEs of other seeds and text"}
    told = ", ".join(f"{rows['observed'].min():.0%}{_to(rows['observed'])} with {named[name]} (ceiling "
                     f"{rows['ceiling'].min():.0%}{_to(rows['ceiling'])})"
                     for name, rows in whole.groupby("differs", sort=False))
    return (f"Dose 0: with other seeds {within.sum()} of {len(within)} shares lie within their ceiling's interval; the "
            f"unchanged model shares {told} with itself.")


def _to(values: pd.Series) -> str:
    return "" if len(values) < 2 else f" to {values.max():.0%}"
