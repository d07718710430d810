"""Fine-tuning carried over in logit space: value networks on models that they never saw (notebook 15).

A value network learns the first child's text beside the frozen root (`lm.value_network`) and is then added to other
models of the lineage. What it recovers is counted against full fine-tuning of the same model on the same blocks:

    R = (CE(T) - CE(T + V)) / (CE(T) - CE(fine-tuned T))
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lm import training, value_network
from unifeat.lm.value_network import Value
from unifeat.studies import checkpoints, merge_search, variants
from unifeat.studies.replicates import t_interval
from unifeat.support import parallel, tables

ARMS = {  # scheme, start, weight of the norm
    "residual": ("residual", "zero", 0.0),
    "residual_0.1": ("residual", "zero", 0.1),
    "residual_1": ("residual", "zero", 1.0),
    "residual_10": ("residual", "zero", 10.0),
    "cascade": ("cascade", "zero", 0.0),
    "pretrained_1": ("residual", "pretrained", 1.0),  # as the authors train
}
PROXY = "proxy"  # T + fine-tuned root - root (proxy tuning, Liu et al. 2024, arXiv 2401.08565)
LENGTH = 3  # of every training, as a multiple of studies.tune_tokens
RATES = dict(value=30.0, full=10.0)  # times the child's learning rate
COLUMNS = ["model_seed", "target", "method", "domain", "task", "alone_nats", "with_nats", "tuned_nats", "recovered",
           "recovered_low", "recovered_high"]


def children(run: Run) -> tuple[str, ...]:
    """The root's children that are fine-tuned here."""
    root = checkpoints.root(run)
    return tuple(name for name, one in run.lineage.models.items() if one.finetune and one.parent == root)


def possible(run: Run) -> bool:
    """Whether the root is trained here and has a fine-tuned child."""
    return bool(children(run)) and checkpoints.possible(run)


def runs(run: Run) -> list[Run]:
    """The run with its root's checkpoints, from studies.replicates seeds."""
    return [checkpoints.along(one) for one in merge_search.runs(run)]


def task(run: Run) -> str:
    """The domain that is learned: the first of the first child's."""
    return run.lineage.mix(children(run)[0])[0][0]


def targets(run: Run) -> dict[str, tuple[Run, str]]:
    """{what it is: (run, model)}: the root that the value network saw, a state on its way, its other child and a merge
    of its children where there are any, a root of half the width, and the root of another seed."""
    root, steps = checkpoints.root(run), checkpoints.steps(run)
    found = {"the root itself": (run, root), "an earlier state": (run, checkpoints.name(run, steps[len(steps) // 2]))}
    if others := children(run)[1:]:
        found["another child"] = run, others[0]
    merges = [name for name, one in run.lineage.models.items() if one.merge and one.ends
              and {*one.merge} <= {*children(run)}]
    if merges:
        found["the merge"] = run, merges[0]
    m = run.lineage.model
    if m.d_model % (2 * m.heads) == 0:
        half = variants.variant(run, model=dict(d_model=m.d_model // 2, d_mlp=m.d_mlp // 2))
        found["half the width"] = half, root
    return found | {"another seed": (variants.replicate(run, 1), root)}


def settings(run: Run, way: str):
    """The training of the task: the child's settings at the rate of `way`, on LENGTH x studies.tune_tokens."""
    child = run.lineage.models[children(run)[0]].finetune
    return replace(child, tokens=LENGTH * run.lineage.studies.tune_tokens, lr=RATES[way] * child.lr, evaluations=0,
                   warmup=min(child.warmup, 10), text=(task(run),), weights=(1.0,))


def value_stage(run: Run, arm: str, bar=None):
    """The result that holds a value network of the root."""
    scheme, how, weight = ARMS[arm]
    config = settings(run, "value")

    def build(folder):
        base = run.model(checkpoints.root(run))
        value = value_network.start(base, scheme, how)
        blocks = {task(run): run.corpus.blocks(task(run), "train")}
        value_network.train(base, value, blocks, config, weight, bar=bar)
        value_network.save(value, run.corpus.tokenizer, folder / "value", f"Trained beside {checkpoints.root(run)} on "
                           f"{task(run)}, norm {weight:g}.")

    return run.stage(f"value-{arm}", build, [ARMS[arm], config], [run.corpus_stage,
                                                                  run.model_stage(checkpoints.root(run))],
                     bar=bar, tokens=config.tokens)


def tuned_stage(run: Run, one: Run, name: str, bar=None):
    """The result that holds the model `name` of the run `one`, fine-tuned whole on the task."""
    config = settings(run, "full")

    def build(folder):
        model = one.model(name)
        training.train(model, {task(run): run.corpus.blocks(task(run), "train")}, config, {}, name, bar=bar)
        lm.save(model, run.corpus.tokenizer, folder / "model")

    return run.stage(f"tuned-{name}", build, config, [run.corpus_stage, one.model_stage(name)], bar=bar,
                     tokens=config.tokens)


def prepare(run: Run) -> None:
    """Make all models and value networks ready, several at a time."""
    if not possible(run):
        return
    every = runs(run)
    for one in every:
        for other, name in targets(one).values():
            other.train_models(name)
    length = settings(run, "full").tokens
    arms = list(itertools.product(every, ARMS))
    parallel.side_by_side(lambda job, bar: value_stage(*job, bar), arms, length * len(arms), "value networks")
    models = [(one, *target) for one in every for target in targets(one).values()]
    parallel.side_by_side(lambda job, bar: tuned_stage(*job, bar), models, length * len(models), "fine-tuned targets")


def table(run: Run) -> pd.DataFrame:
    """value_networks.csv: by language-model seed, target, method and domain: the loss (nats per token) of the target
    alone, with the method, and fine-tuned whole on the task; recovered: R on the task's domain, with a 95 % interval
    over documents. Methods: every arm of ARMS, and `proxy`."""
    if not possible(run):
        return pd.DataFrame(columns=COLUMNS)
    rows = []
    for number, one in enumerate(runs(run)):
        for target in targets(one):
            rows.append(tables.read(_measured_stage(one, target)).assign(model_seed=number, target=target))
    return pd.concat(rows, ignore_index=True)[COLUMNS]


def _measured_stage(run: Run, target: str):
    """The rows of one target."""
    one, name = targets(run)[target]
    made, full = {arm: value_stage(run, arm) for arm in ARMS}, tuned_stage(run, one, name)
    root = checkpoints.root(run)
    first = tuned_stage(run, run, root)

    def build(folder):
        models = [lm.load(path) for path in (one.model_folder(name), full.folder / "model", run.model_folder(root),
                                             first.folder / "model")]
        ways = ways_of(*models, {arm: value_network.load(stage.folder / "value") for arm, stage in made.items()})
        rows = [row for domain in run.lineage.domains for row in _of_domain(run, ways, domain)]
        tables.write(folder, rows, COLUMNS[2:])

    return run.stage("value-losses", build, [target, checkpoints.TOKENS, run.lineage.domains, task(run)],
                     [run.corpus_stage, one.model_stage(name), full, first, run.model_stage(root), *made.values()])


def ways_of(model, tuned, root, tuned_root, values: dict[str, Value]) -> dict[str, Callable]:
    """{method: logits (batch, length, vocab) of tokens (batch, length)}; "alone" and "tuned" first."""
    z = value_network.base_logits

    def added(value, tokens):
        before = z(model, tokens)
        with torch.no_grad(), lm.autocast():
            return before + value.logits(tokens, before, use_cache=False)

    ways = {"alone": lambda tokens: z(model, tokens), "tuned": lambda tokens: z(tuned, tokens)}
    ways |= {arm: lambda tokens, value=value: added(value, tokens) for arm, value in values.items()}
    return ways | {PROXY: lambda tokens: z(model, tokens) + z(tuned_root, tokens) - z(root, tokens)}


def _of_domain(run: Run, ways: dict[str, Callable], domain: str) -> list[dict]:
    blocks, document = checkpoints.documents(run, domain)
    sums, length = {name: summed(way, blocks) for name, way in ways.items()}, blocks.shape[1] - 1
    rows = []
    for name in list(ways)[2:]:
        three = np.array([sums["alone"], sums[name], sums["tuned"]])
        alone, after, tuned = three.sum(1) / (length * len(blocks))
        row = dict(method=name, domain=domain, task=domain == task(run), alone_nats=alone, with_nats=after,
                   tuned_nats=tuned, recovered=np.nan, recovered_low=np.nan, recovered_high=np.nan)
        if domain == task(run):
            drawn = checkpoints.resampled(three, document, length)
            row |= dict(recovered=recovered(*three.sum(1)), **dict(zip(
                ("recovered_low", "recovered_high"), np.quantile(recovered(*drawn), [0.025, 0.975]), strict=True)))
        rows.append(row)
    return rows


def recovered(alone, after, tuned):
    """R: 0 the target alone, 1 as good as fine-tuned whole.

    >>> recovered(4.0, 3.5, 3.0)
    0.5
    """
    return (alone - after) / (alone - tuned)


@torch.no_grad()
def summed(way: Callable, blocks: np.ndarray, batch: int = 16) -> np.ndarray:
    """Summed next-token loss (nats) of each block (n, context), of logits way(tokens)."""
    out = []
    for at in range(0, len(blocks), batch):
        tokens = torch.from_numpy(blocks[at:at + batch].astype(np.int64))
        loss = torch.nn.functional.cross_entropy(way(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")
        out.append(loss.sum(1))
    return torch.cat(out).double().numpy()


# Answers ------------------------------------------------------------------------------------------------------------


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """By target and method, R and the rise of the loss on other domains (nats per token), means over language-model
    seeds with Student's 95 % interval."""
    own = frame[frame["task"].astype(bool)]
    rest = frame[~frame["task"].astype(bool)].assign(rise=lambda one: one["with_nats"] - one["alone_nats"])
    rest = rest.groupby(["target", "method"])["rise"].mean()
    rows = []
    for (target, method), part in own.groupby(["target", "method"], sort=False):
        low, mean, high = t_interval(part["recovered"].to_numpy())
        rows.append(dict(target=target, method=method, recovered=mean, low=low, high=high,
                         rise_elsewhere=rest.get((target, method), np.nan)))
    return pd.DataFrame(rows, columns=["target", "method", "recovered", "low", "high", "rise_elsewhere"])


def answer(frame: pd.DataFrame) -> str:
    """What value networks recover on models that they never saw, beside their peers."""
    if frame.empty:
        return ""
    found = over_seeds(frame).set_index(["method", "target"])["recovered"].unstack()
    found = found[list(dict.fromkeys(frame["target"]))]  # in their order
    own, away = found["the root itself"], found.drop(columns="the root itself").mean(axis=1)
    sizes = [name for name in ("half the width", "an earlier state", "another seed") if name in found]
    told = ", ".join(f"{name} {found.loc['residual', name]:.2f}" for name in found.columns)
    norms = [arm for arm in ARMS if arm.startswith("residual_")]
    fine = [arm for arm in norms if own[arm] - away[arm] < own["residual"] - away["residual"]
            and away[arm] > away["residual"] - 0.02]
    best = max(fine or norms, key=lambda arm: away[arm])
    seeds = frame["model_seed"].nunique()
    goal = (found.loc["residual", sizes] >= 0.5).all()
    return (f"Of what full fine-tuning gains (R = 1) the residual value network recovers {told} (means of {seeds} seed"
            f"{'s' if seeds > 1 else ''}); R of .5 on other sizes, seeds and states is {'met' if goal else 'missed'}. "
            f"Mean R on models that it never saw: residual {away['residual']:.2f}, cascade {away['cascade']:.2f}, the "
            f"authors' start with their norm {away['pretrained_1']:.2f}, proxy tuning {away[PROXY]:.2f}. With a norm "
            f"of {ARMS[best][2]:g} it is {away[best]:.2f}, {own[best] - away[best]:.2f} below that on the root "
            f"({own['residual'] - away['residual']:.2f} without): the goal, a norm that narrows this gap and costs at "
            f"most .02, is {'met' if fine else 'missed'}.")
