"""Fine-tuning carried over in logit space: value networks on models that they never saw (notebook 15).

A value network learns the first child's text beside the frozen root (`lm.value_network`) and is then added to other
models of the lineage. What it recovers is counted against full fine-tuning of the same model on the same blocks:

    R = (CE(T) - CE(T + V)) / (CE(T) - CE(fine-tuned T))
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lm import lora, training, value_network, vocabulary_map
from unifeat.lm.value_network import Value
from unifeat.studies import checkpoints, merge_search, variants
from unifeat.support import parallel, tables
from unifeat.text.bpe import EOS

ARMS = {  # scheme, start, weight of the norm
    "residual": ("residual", "zero", 0.0),
    "residual_0.1": ("residual", "zero", 0.1),
    "residual_1": ("residual", "zero", 1.0),
    "residual_10": ("residual", "zero", 10.0),
    "cascade": ("cascade", "zero", 0.0),
    "pretrained_1": ("residual", "pretrained", 1.0),  # as the authors train
}
SOME = ("residual", "residual_1")  # the arms for targets that need value networks, or logits, of their own
PROXY = "proxy"  # T + fine-tuned root - root (proxy tuning, Liu et al. 2024, arXiv 2401.08565)
LORA = "lora"  # low-rank adapters on the target itself
ROOT, EARLIER, LATER, VOCABULARY = "the root itself", "an earlier state", "a later state", "another vocabulary"
ADAPTED = (ROOT, "half the width", "another seed")  # targets that are tuned by LORA too
RANK = 8
FEWEST = 280  # tokens of a vocabulary: 256 bytes and some
MAPPED = 100  # blocks per domain whose two tokenisations are aligned
FEWER = 4  # of so many blocks one is measured with another vocabulary, where every prefix is read anew
LENGTH = 3  # of every training, as a multiple of studies.tune_tokens
RATES = dict(value=30.0, full=10.0, lora=20.0)  # times the child's learning rate
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
    of its children where there are any, a root of half the width, the root of another seed; the root once more for
    value networks of that earlier state; and a root of half the vocabulary."""
    root = checkpoints.root(run)
    found = {ROOT: (run, root), EARLIER: (run, earlier(run))}
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
    found |= {"another seed": (variants.replicate(run, 1), root), LATER: (run, root)}
    vocab = max(run.lineage.corpora.vocab // 2, FEWEST)
    if vocab < run.lineage.corpora.vocab and not run.given:
        found[VOCABULARY] = variants.variant(run, corpora=dict(vocab=vocab)), root
    return found


def earlier(run: Run) -> str:
    """The state in the middle of the root's checkpoints."""
    steps = checkpoints.steps(run)
    return checkpoints.name(run, steps[len(steps) // 2])


def arms(target: str) -> tuple[str, ...]:
    """The value networks that are added to a target."""
    return SOME if target in (LATER, VOCABULARY) else tuple(ARMS)


def beside(run: Run, target: str) -> str:
    """The model beside which the value networks of a target were trained."""
    return earlier(run) if target == LATER else checkpoints.root(run)


def settings(run: Run, way: str):
    """The training of the task: the child's settings at the rate of `way`, on LENGTH x studies.tune_tokens."""
    child = run.lineage.models[children(run)[0]].finetune
    return replace(child, tokens=LENGTH * run.lineage.studies.tune_tokens, lr=RATES[way] * child.lr, evaluations=0,
                   warmup=min(child.warmup, 10), text=(task(run),), weights=(1.0,))


def value_stage(run: Run, arm: str, base_name: str, bar=None):
    """The result that holds a value network, trained beside the model `base_name`."""
    scheme, how, weight = ARMS[arm]
    config = settings(run, "value")

    def build(folder):
        base = run.model(base_name)
        value = value_network.start(base, scheme, how)
        blocks = {task(run): run.corpus.blocks(task(run), "train")}
        value_network.train(base, value, blocks, config, weight, bar=bar)
        value_network.save(value, run.corpus.tokenizer, folder / "model", f"Trained beside {base_name} on {task(run)}, "
                           f"norm {weight:g}.")

    return run.stage(f"value-{arm}", build, [ARMS[arm], config], [run.corpus_stage, run.model_stage(base_name)],
                     bar=bar, tokens=config.tokens)


def tuned_stage(run: Run, one: Run, name: str, way: str = "full", bar=None):
    """The result that holds the model `name` of the run `one`, fine-tuned on the task: whole, or by LORA."""
    config = settings(run, way)

    def build(folder):
        model = one.model(name)
        if way == LORA:
            lora.add(model, RANK, config.seed)
        training.train(model, {task(run): one.corpus.blocks(task(run), "train")}, config, {}, name, bar=bar)
        if way == LORA:
            lora.merge(model)
        lm.save(model, one.corpus.tokenizer, folder / "model")

    return run.stage(f"tuned-{way}-{name}", build, [config, RANK if way == LORA else None],
                     [one.corpus_stage, one.model_stage(name)], bar=bar, tokens=config.tokens)


def prepare(run: Run) -> None:
    """Make all models and value networks ready, several at a time."""
    if not possible(run):
        return
    every = runs(run)
    for one in every:
        for other, name in targets(one).values():
            other.train_models(name)
    length = settings(run, "full").tokens
    jobs = list(dict.fromkeys((one, arm, beside(one, target)) for one in every for target in targets(one)
                              for arm in arms(target)))
    parallel.side_by_side(lambda job, bar: value_stage(*job, bar), jobs, length * len(jobs), "value networks")
    models = [(one, *targets(one)[target], way) for one in every for target in targets(one) if target != LATER
              for way in ("full", LORA) if way == "full" or target in ADAPTED]
    parallel.side_by_side(lambda job, bar: tuned_stage(*job, bar), models, length * len(models), "fine-tuned targets")


def table(run: Run) -> pd.DataFrame:
    """value_networks.csv: by language-model seed, target, method and domain: the loss (nats per token) of the target
    alone, with the method, and fine-tuned whole on the task; recovered: R on the task's domain, with a 95 % interval
    over documents. Methods: the target's `arms`, PROXY where the vocabulary is the root's, and on some targets LORA."""
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
    root = checkpoints.root(run)
    made = {arm: value_stage(run, arm, beside(run, target)) for arm in arms(target)}
    full, first = tuned_stage(run, one, name), tuned_stage(run, run, root)
    more = {LORA: tuned_stage(run, one, name, LORA)} if target in ADAPTED else {}

    def build(folder):
        def model(stage):
            return lm.load(stage.folder / "model")

        values = {arm: value_network.load(stage.folder / "model") for arm, stage in made.items()}
        if target == VOCABULARY:
            values = carried_over(run, one, values)
        proxy = (model(run.model_stage(root)), model(first)) if target not in (LATER, VOCABULARY) else None
        ways = ways_of(one.model(name), model(full), values, proxy, {way: model(stage) for way, stage in more.items()})
        every = FEWER if target == VOCABULARY else 1
        rows = [row for domain in run.lineage.domains
                for row in _of_domain(one, ways, domain, domain == task(run), every)]
        tables.write(folder, rows, COLUMNS[2:])

    return run.stage("value-losses", build, [target, checkpoints.TOKENS, MAPPED, FEWER, run.lineage.domains, task(run)],
                     [run.corpus_stage, one.corpus_stage, one.model_stage(name), full, first, run.model_stage(root),
                      *made.values(), *more.values()])


def carried_over(run: Run, one: Run, values: dict[str, Value]) -> dict[str, vocabulary_map.Translated]:
    """The value networks of `run` for models of the run `one`, which has another tokenizer; the two are aligned on
    training text of every domain."""
    own, texts = run.corpus.tokenizer, []
    for domain in run.lineage.domains:
        blocks = run.corpus.blocks(domain, "train")
        texts += [own.decode(block[block != EOS]) for block in blocks[::max(1, len(blocks) // MAPPED)][:MAPPED]]
    partner = vocabulary_map.partners(vocabulary_map.counts(texts, one.corpus.tokenizer, own))
    return {arm: vocabulary_map.Translated(value, own, one.corpus.tokenizer, partner) for arm, value in values.items()}


def ways_of(model, tuned, values: dict, proxy=None, others=None) -> dict[str, Callable]:
    """{method: logits (batch, length, vocab) of tokens (batch, length)}; "alone" and "tuned" first.

    values: value networks by arm; proxy: the root and the tuned root; others: models that stand for themselves.
    """
    z = value_network.base_logits

    def added(value, tokens):
        before = z(model, tokens)
        with torch.no_grad(), lm.autocast():
            return before + value.logits(tokens, before, use_cache=False)

    ways = {"alone": lambda tokens: z(model, tokens), "tuned": lambda tokens: z(tuned, tokens)}
    ways |= {arm: lambda tokens, value=value: added(value, tokens) for arm, value in values.items()}
    ways |= {way: lambda tokens, one=one: z(one, tokens) for way, one in (others or {}).items()}
    if proxy:
        ways[PROXY] = lambda tokens: z(model, tokens) + z(proxy[1], tokens) - z(proxy[0], tokens)
    return ways


def _of_domain(run: Run, ways: dict[str, Callable], domain: str, is_task: bool, every: int = 1) -> list[dict]:
    blocks, document = (one[::every] for one in checkpoints.documents(run, domain))
    sums, length = {name: summed(way, blocks) for name, way in ways.items()}, blocks.shape[1] - 1
    rows = []
    for name in list(ways)[2:]:
        three = np.array([sums["alone"], sums[name], sums["tuned"]])
        alone, after, tuned = three.sum(1) / (length * len(blocks))
        row = dict(method=name, domain=domain, task=is_task, alone_nats=alone, with_nats=after,
                   tuned_nats=tuned, recovered=np.nan, recovered_low=np.nan, recovered_high=np.nan)
        if is_task:
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
