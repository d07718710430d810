"""Checkpoints x fine-tuning: what pre-training gives that only fine-tuning shows (notebook 13).

The protocol of Sun & Dredze 2024, "Amuro and Char" (arXiv 2408.06663), on the lineage's domains: every checkpoint of
the first root's training is fine-tuned on each domain, with the same blocks in the same order, under a header. The root
saw some domains (`seen`), the others it did not. Base and fine-tuned model are measured on every domain in three
formats of the same target text.
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lineage.settings import LineageError
from unifeat.lm import training
from unifeat.studies import variants
from unifeat.support import parallel
from unifeat.text.bpe import EOS

FORMATS = {"training": "### Text:\n", "other": "Please continue: ", "none": ""}  # headers; tuning uses the first
ARMS = {"tuned": (10.0, 0), "small": (2.5, 0), "order": (10.0, 1)}  # times the children's rate, and added to the seed
SEEDS = 2  # of the language models
TOKENS = 6_400  # of a domain's held-out text, at most, in every measurement
RESAMPLES = 500
COLUMNS = ["model_seed", "arm", "step", "task", "seen", "domain", "format", "base_nats", "tuned_nats", "gain_nats",
           "gain_low", "gain_high", "base_accuracy", "tuned_accuracy", "base_bits_per_byte", "tuned_bits_per_byte"]
SPREADS = ["model_seed", "step", "task", "spread", "spread_low", "spread_high"]


def root(run: Run) -> str:
    """The model whose checkpoints these are: the first root, or whose state it is."""
    first = run.lineage.roots[0]
    at = run.lineage.models[first].checkpoint
    return at.of if at else first


def possible(run: Run) -> bool:
    """Whether the root is trained here, and some model is fine-tuned, whose settings the study takes."""
    models = run.lineage.models
    return bool(models[root(run)].train) and any(one.finetune for one in models.values())


def steps(run: Run) -> list[int]:
    """The steps of the root's training at which it is kept.

    Raises:
        LineageError: fewer than two steps, or one beyond the training.
    """
    found, how = list(run.lineage.studies.checkpoints), run.lineage.models[root(run)].train
    last = how.tokens // (how.batch * run.corpus.context)
    if len(found) < 2 or found[-1] > last:
        raise LineageError(f"studies.checkpoints is {found}; name two steps or more, none beyond the {last} of "
                           f"{root(run)}.")
    return found


def along(run: Run) -> Run:
    """The run with the checkpoints of its root as models, named root-step."""
    return variants.with_models(run, **run.lineage.on_the_way(root(run)))


def name(run: Run, step: int) -> str:
    """The checkpoint after `step` steps."""
    return f"{root(run)}-{step}"


def seen(run: Run) -> tuple[str, ...]:
    """The domains that the root was trained on."""
    return run.lineage.mix(root(run))[0]


def runs(run: Run) -> list[Run]:
    """The run with its checkpoints, from SEEDS seeds (no more than studies.replicates)."""
    return [along(variants.replicate(run, number)) for number in range(min(SEEDS, run.lineage.studies.replicates))]


# Text ---------------------------------------------------------------------------------------------------------------


def headers(run: Run) -> dict[str, np.ndarray]:
    """The token ids of every header."""
    tokenizer = run.corpus.tokenizer
    return {form: np.array(tokenizer(text, add_special_tokens=False)["input_ids"] if text else [], dtype=np.int64)
            for form, text in FORMATS.items()}


def room(run: Run) -> int:
    """Tokens of a block that are target text, in every format."""
    return run.corpus.context - max(map(len, headers(run).values()))


def under(header: np.ndarray, blocks: np.ndarray, length: int) -> np.ndarray:
    """The first `length` tokens of each block (n, context) behind a header.

    >>> under(np.array([7, 8]), np.array([[1, 2, 3]]), 2).tolist()
    [[7, 8, 1, 2]]
    """
    return np.concatenate([np.tile(header, (len(blocks), 1)), blocks[:, :length].astype(np.int64)], axis=1)


def documents(run: Run, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Held-out blocks (n, context) of a domain, and the number of the document in which each begins."""
    blocks = run.corpus.blocks(domain, "validation")
    number = np.cumsum(blocks == EOS).reshape(blocks.shape)[:, 0]
    at = np.linspace(0, len(blocks) - 1, min(len(blocks), TOKENS // run.corpus.context)).round().astype(int)
    return blocks[at], number[at]


@torch.inference_mode()
def told(model, rows: np.ndarray, length: int, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """By row of `rows` (n, header + length): summed loss (nats) and right answers over the last length - 1 tokens.

    The first target token is left out: without a header nothing comes before it.
    """
    model.to(lm.device()).eval()
    losses, right = [], []
    for start in range(0, len(rows), batch):
        tokens = torch.from_numpy(rows[start:start + batch]).to(lm.device())
        with lm.autocast():
            logits = model(input_ids=tokens, use_cache=False).logits[:, -length:-1].float()
        targets = tokens[:, 1 - length:]
        losses.append(torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1).cpu())
        right.append((logits.argmax(-1) == targets).sum(1).cpu())
    return torch.cat(losses).double().numpy(), torch.cat(right).numpy()


# Fine-tuning --------------------------------------------------------------------------------------------------------


def settings(run: Run, task: str, arm: str):
    """The training of one task: the first child's settings at the arm's rate, on studies.tune_tokens of `task`."""
    child = next(one.finetune for one in run.lineage.models.values() if one.finetune)
    times, more = ARMS[arm]
    return replace(child, tokens=run.lineage.studies.tune_tokens, lr=times * child.lr, warmup=min(child.warmup, 5),
                   evaluations=0, seed=child.seed + more, text=(task,), weights=(1.0,))


def tune(run: Run, step: int, task: str, arm: str, bar=None):
    """A fine-tuned checkpoint: the model."""
    model, length = run.model(name(run, step)), room(run)
    blocks = under(headers(run)["training"], run.corpus.blocks(task, "train"), length)
    how = settings(run, task, arm)
    training.train(model, {task: blocks}, how, {}, f"{name(run, step)} on {task}", bar=bar)
    return model


def measured(run: Run, model) -> dict[str, np.ndarray]:
    """Loss and right answers (formats, blocks) by domain, as arrays "loss-domain" and "right-domain"."""
    out, length = {}, room(run)
    for domain in run.lineage.domains:
        blocks, _ = documents(run, domain)
        found = [told(model, under(header, blocks, length), length) for header in headers(run).values()]
        out[f"loss-{domain}"], out[f"right-{domain}"] = map(np.array, zip(*found, strict=True))
    return out


def stage(run: Run, step: int, task: str = "", arm: str = "", bar=None):
    """The result that holds what a checkpoint says (task "") or what it says once it is tuned, by block."""
    def build(folder):
        model = tune(run, step, task, arm, bar) if task else run.model(name(run, step))
        np.savez(folder / "told.npz", **measured(run, model))

    how = settings(run, task, arm) if task else None
    return run.stage("tuned", build, [how, FORMATS, TOKENS, run.lineage.domains],
                     [run.corpus_stage, run.model_stage(name(run, step))], bar=bar, tokens=how.tokens if how else 0)


def jobs(run: Run, arms=tuple(ARMS)) -> list[tuple[int, str, str]]:
    """(step, task, arm) of every fine-tuning: all tasks as they are; tasks that the root did not see at a small rate,
    and in another order of blocks."""
    new = [domain for domain in run.lineage.domains if domain not in seen(run)]
    return [(step, task, arm) for arm in arms for step in steps(run)
            for task in (run.lineage.domains if arm == "tuned" else new)]


def _jobs(run: Run) -> list[tuple]:
    """(number of the language-model seed, its run, step, task, arm): the arms beside "tuned" are of the first seed."""
    return [(number, one, *job) for number, one in enumerate(runs(run))
            for job in jobs(one, ["tuned"] if number else ARMS)]


def prepare(run: Run) -> None:
    """Make the checkpoints and all fine-tuned models' measurements ready, several at a time."""
    if not possible(run):
        return
    for one in runs(run):
        one.train_models(root(one), *(name(one, step) for step in steps(one)))
        for step in steps(one):
            stage(one, step)
    todo = _jobs(run)
    parallel.side_by_side(lambda job, bar: stage(*job[1:], bar), todo, run.lineage.studies.tune_tokens * len(todo),
                          "fine-tuning every checkpoint")


def table(run: Run) -> pd.DataFrame:
    """checkpoints.csv: by language-model seed, arm, step, task, domain and format, loss (nats per target token),
    accuracy and bits per byte of the checkpoint and of the model fine-tuned from it; gain_nats: base minus tuned, with
    a 95 % interval over documents."""
    rows, facts = [], {domain: _facts(run, domain) for domain in run.lineage.domains}
    for number, one, step, task, arm in _jobs(run) if possible(run) else ():
        base, tuned = (_read(made) for made in (stage(one, step), stage(one, step, task, arm)))
        for domain, (at, form) in itertools.product(one.lineage.domains, enumerate(FORMATS)):
            head = dict(model_seed=number, arm=arm, step=step, task=task, seen=task in seen(one), domain=domain,
                        format=form)
            rows.append(head | _row(base, tuned, domain, at, *facts[domain]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _read(made) -> dict[str, np.ndarray]:
    with np.load(made.folder / "told.npz", allow_pickle=False) as file:
        return dict(file)


def _facts(run: Run, domain: str) -> tuple[np.ndarray, int, float]:
    """The document of each block of a domain, target tokens of a block, and bytes of all target tokens."""
    blocks, number = documents(run, domain)
    targets = blocks[:, 1:room(run)]
    return number, targets.shape[1], float(run.corpus.token_bytes[targets].sum())


def _row(base: dict, tuned: dict, domain: str, form: int, number: np.ndarray, length: int, size: float) -> dict:
    before, after = base[f"loss-{domain}"][form], tuned[f"loss-{domain}"][form]
    tokens = length * len(before)
    low, high = over_documents(before - after, number, length)
    return dict(base_nats=before.sum() / tokens, tuned_nats=after.sum() / tokens,
                gain_nats=(before - after).sum() / tokens, gain_low=low, gain_high=high,
                base_accuracy=base[f"right-{domain}"][form].sum() / tokens,
                tuned_accuracy=tuned[f"right-{domain}"][form].sum() / tokens,
                base_bits_per_byte=before.sum() / np.log(2) / size, tuned_bits_per_byte=after.sum() / np.log(2) / size)


def spreads(run: Run) -> pd.DataFrame:
    """checkpoint_formats.csv: by language-model seed, step and task, the greatest minus the least tuned loss (nats per
    target token) over formats, with a 95 % interval over documents."""
    rows, facts = [], {domain: _facts(run, domain) for domain in run.lineage.domains}
    for number, one, step, task, arm in _jobs(run) if possible(run) else ():
        if arm == "tuned":
            losses, (document, length, _) = _read(stage(one, step, task, arm))[f"loss-{task}"], facts[task]
            drawn = resampled(losses, document, length)
            low, high = np.quantile(drawn.max(0) - drawn.min(0), [0.025, 0.975])
            means = losses.sum(1) / (length * losses.shape[1])
            rows.append(dict(model_seed=number, step=step, task=task, spread=means.max() - means.min(),
                             spread_low=low, spread_high=high))
    return pd.DataFrame(rows, columns=SPREADS)


def resampled(values: np.ndarray, document: np.ndarray, length: int, seed: int = 0) -> np.ndarray:
    """Means per token (rows, RESAMPLES) of block sums `values` (rows, n) over resampled documents."""
    _, which = np.unique(document, return_inverse=True)
    counts = np.bincount(which)
    sums = np.array([np.bincount(which, row) for row in values])
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    return sums[:, drawn].sum(2) / (counts[drawn].sum(1) * length)


def over_documents(values: np.ndarray, document: np.ndarray, length: int, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean per token of block sums `values` (n,), over resampled documents: percentiles of the
    bootstrap (Efron & Tibshirani 1993, chapter 13).

    >>> over_documents(np.full(6, 3.0), np.arange(6), 2)
    (1.5, 1.5)
    """
    means = resampled(values[None], document, length, seed)[0]
    return tuple(float(value) for value in np.quantile(means, [0.025, 0.975]))
