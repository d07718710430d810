"""Language-model training: `lm.training.train` against the Hugging Face Trainer, same tokens, order and optimiser.

Ours is timed over the whole call, set-up included; of the Trainer only the median step counts, so that neither its
start nor a compilation weighs on it.
"""

import copy
import dataclasses
import statistics
import time

import numpy as np
import torch

from benchmarks import harness
from unifeat import lineage, lm
from unifeat.lineage.run import open_run
from unifeat.lineage.settings import Training
from unifeat.lm import training

# What the Trainer is given. "defaults" is its own choice of attention and precision; the others are the best we found.
VARIANTS = {
    "Trainer, defaults": dict(),
    "Trainer, bf16": dict(bf16=True),
    "Trainer, bf16, our attention": dict(bf16=True, attention=True),
    "Trainer, bf16, our attention, compiled": dict(bf16=True, attention=True, torch_compile=True),
}


class Rows(torch.utils.data.Dataset):
    """The blocks in the order of our own loop, as the Trainer wants them."""

    def __init__(self, batches):
        self.rows = torch.cat(batches).cpu()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return dict(input_ids=self.rows[i], labels=self.rows[i])


def ours(model, blocks: dict, config: Training) -> float:
    """Seconds per step of our loop, set-up included."""
    steps = config.tokens // (config.batch * blocks[config.text[0]].shape[1])
    start = time.perf_counter()
    training.train(model, blocks, config, {})
    harness.wait()
    return (time.perf_counter() - start) / steps


def trainer(model, blocks: dict, config: Training, bf16=False, attention=False, torch_compile=False) -> float:
    """Median seconds per step of the Hugging Face Trainer, the first step left out; trains `model` in place."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    stamps = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            harness.wait()
            stamps.append(time.perf_counter())

    model.set_attn_implementation(lm.kernel() if attention else "sdpa")
    context = blocks[config.text[0]].shape[1]
    steps = config.tokens // (config.batch * context)
    parts = [blocks[d] for d in config.text]
    order = training.mixture([len(part) for part in parts], config.weights, steps * config.batch, config.seed)
    data = Rows(list(training.batches(parts, order, config.batch)))
    model.train()
    groups = [dict(params=[p for p in model.parameters() if p.ndim > 1], weight_decay=config.weight_decay),
              dict(params=[p for p in model.parameters() if p.ndim <= 1], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: training.schedule(step, steps, config))
    arguments = TrainingArguments(
        output_dir=str(harness.scratch() / "trainer"), max_steps=steps, per_device_train_batch_size=config.batch,
        max_grad_norm=config.clip, bf16=bf16, torch_compile=torch_compile, train_sampling_strategy="sequential",
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=torch.cuda.is_available(),
        eval_strategy="no", save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True)
    run = Trainer(model=model, args=arguments, train_dataset=data, optimizers=(optimizer, schedule),
                  callbacks=[Clock()])
    run.remove_callback(PrinterCallback)
    run.train()
    return statistics.median(np.diff(stamps))


def compare(start, blocks: dict, held_out: np.ndarray, config: Training, repeats: int,
            variants: dict) -> list[dict]:
    """Rows: what, tokens_per_s (median), loss on held-out blocks (nats), ratio of ours to it, void (losses differ)."""
    tokens = config.batch * blocks[config.text[0]].shape[1]
    runs = {"ours": ours} | {name: lambda *a, given=given: trainer(*a, **given) for name, given in variants.items()}
    taken, losses, failed = {name: [] for name in runs}, {}, {}
    few = dataclasses.replace(config, tokens=2 * tokens)
    ours(copy.deepcopy(start), blocks, few)  # kernels are chosen at the first call
    for _ in range(repeats):
        for name, run in runs.items():
            if name in failed:
                continue
            model = copy.deepcopy(start)
            try:
                taken[name].append(run(model, blocks, config))
                losses[name] = lm.evaluate(model, held_out)["loss_nats"]
            except (RuntimeError, ValueError, MemoryError) as error:  # a variant that this machine cannot run
                failed[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            harness.say(f"  {name}: {failed.get(name) or f'{tokens / taken[name][-1]:,.0f} tokens/s'}")
    rate = {name: tokens / statistics.median(times) for name, times in taken.items() if name not in failed}
    return [dict(what=name, error=failed[name]) if name in failed else
            dict(what=name, tokens_per_s=rate[name], loss=losses[name], ratio=rate["ours"] / rate[name],
                 void=abs(losses["ours"] / losses[name] - 1) > 0.01) for name in runs]


def operations(p: lineage.Lineage) -> float:
    """Multiply-adds times two per token, forward and backward: 6 per weight of a product, 12 d_model per key.

    The embedding is a look-up; the term in the context is attention's two products over half the context.
    """
    m, c = p.model, p.corpora
    attention = m.d_model**2 * (2 + 2 * m.kv_heads / m.heads)
    weights = m.layers * (attention + 3 * m.d_model * m.d_mlp) + m.d_model * c.vocab
    return 6 * weights + m.layers * 6 * m.d_model * c.context


def run() -> list[dict]:
    """Both sizes on the laptop lineage's text; at the paper's size the batch and context are the paper's too."""
    corpus = open_run("smoke" if harness.quick() else "laptop").corpus
    sizes = {"laptop": (40, 2), "paper": (5, 1)} if not harness.quick() else {"smoke": (6, 1)}
    return [_size(corpus, size, *given) for size, given in sizes.items()]


def _size(corpus, size: str, steps: int, repeats: int) -> dict:
    p = lineage.read(size)
    context, start = p.corpora.context, p.models[p.roots[0]].train
    config = dataclasses.replace(start, tokens=steps * start.batch * context, warmup=min(start.warmup, steps // 4))
    settings = dict(size=size, steps=steps, repeats=repeats, batch=config.batch, context=context,
                    model=dataclasses.asdict(p.model), vocab=p.corpora.vocab,
                    operations_per_token=operations(p), variants=VARIANTS)

    def measure():
        blocks = {d: _blocks(corpus.tokens(d, "train"), context) for d in config.text}
        held_out = np.concatenate([_blocks(corpus.tokens(d, "validation"), context)[:32] for d in config.text])
        return compare(lm.build(p.model, p.corpora.vocab, context), blocks, held_out, config, repeats, VARIANTS)

    return harness.measured(f"lm_{size}", settings, measure)


def _blocks(stream: np.ndarray, context: int) -> np.ndarray:
    """Packed tokens as (blocks, context)."""
    return stream[:len(stream) // context * context].reshape(-1, context)
