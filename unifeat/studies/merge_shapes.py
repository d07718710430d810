"""Evolver beyond decoders: tiny encoders and encoder-decoders too, trained on the spot (notebook 14).

Each has the loss of its kind on the lineage's text: masked tokens, the next token, or spans left out. The library
supplies the models; `merging.evolver` sees their state dicts and a fitness.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from unifeat.lineage.run import Run
from unifeat.merging import evolver, zoo
from unifeat.merging.evolver import Evolution
from unifeat.studies import merge_search
from unifeat.support import tables

SIZE, LAYERS, HEADS = 64, 2, 2
MASKED, SPAN = 0.15, 3  # share of tokens to be told, and mean length of a span (Raffel et al. 2020, 3.1.4)
BATCH, LR = 32, 3e-3
ROOT, CHILD = 4, 2  # length of a training, as multiples of studies.tune_tokens
COLUMNS = ["shape", "task", "model_seed", "method", "dev", "test"]


@dataclass(frozen=True)
class Shape:
    """A kind of model: its task in a word, how one is made, and how token ids become its inputs."""

    task: str
    model: Callable  # (tokens of the vocabulary, context) -> transformers model
    batch: Callable  # (blocks (n, context), tokens of the vocabulary, random numbers) -> keyword arguments with labels


def encoder(vocab: int, context: int):
    """A RoBERTa; its positions begin at 1, and `vocab` is the mask."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    return RobertaForMaskedLM(RobertaConfig(
        vocab_size=vocab + 1, hidden_size=SIZE, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=2 * SIZE, max_position_embeddings=context + 1, pad_token_id=0, type_vocab_size=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


def decoder(vocab: int, context: int):
    """A GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_positions=context, n_embd=SIZE, n_layer=LAYERS, n_head=HEADS,
                                      n_inner=2 * SIZE, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
                                      eos_token_id=0, loss_type="ForCausalLM"))


def encoder_decoder(vocab: int, context: int):
    """A T5; ids from `vocab` on mark the spans."""
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(
        vocab_size=vocab + spans(context) + 1, d_model=SIZE, d_kv=SIZE // HEADS, d_ff=2 * SIZE, num_layers=LAYERS,
        num_heads=HEADS, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0))


def spans(context: int) -> int:
    """How many spans are left out of a block."""
    return max(1, round(MASKED * context / SPAN))


def masked(blocks: np.ndarray, vocab: int, rng) -> dict:
    """MASKED of all tokens are to be told: 80 % of them become the mask, 10 % another token, 10 % stay (Devlin et al.
    2019, 3.1)."""
    chosen, how = rng.random(blocks.shape) < MASKED, rng.random(blocks.shape)
    shown = np.where(chosen & (how < 0.8), vocab, blocks)
    shown = np.where(chosen & (how >= 0.9), rng.integers(vocab, size=blocks.shape), shown)
    places = torch.arange(1, blocks.shape[1] + 1).expand(len(blocks), -1)
    return dict(input_ids=torch.tensor(shown), labels=torch.tensor(np.where(chosen, blocks, -100)), position_ids=places)


def causal(blocks: np.ndarray, vocab: int, rng) -> dict:
    """Every next token is to be told."""
    ids = torch.tensor(blocks)
    return dict(input_ids=ids, labels=ids)


def denoising(blocks: np.ndarray, vocab: int, rng) -> dict:
    """T5's span corruption: each span left out is one mark in the input, and follows that mark in the target.

    >>> out = denoising(np.arange(1, 21)[None], 100, np.random.default_rng(0))
    >>> out["input_ids"].tolist(), out["labels"].tolist()
    ([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 100]], [[100, 18, 19, 20, 101]])
    """
    length, count = blocks.shape[1], spans(blocks.shape[1])
    gone = max(count, round(MASKED * length))
    inputs, targets = [], []
    for row in blocks:
        lengths = np.stack([_parts(length - gone, count, rng), _parts(gone, count, rng)], axis=1).ravel()
        pieces = np.split(row, np.cumsum(lengths)[:-1])
        marks = [np.array([vocab + n]) for n in range(count + 1)]
        inputs.append(np.concatenate([part for n in range(count) for part in (pieces[2 * n], marks[n])]))
        targets.append(np.concatenate([part for n in range(count) for part in (marks[n], pieces[2 * n + 1])]
                                      + [marks[count]]))
    return dict(input_ids=torch.tensor(np.array(inputs)), labels=torch.tensor(np.array(targets)))


def _parts(total: int, count: int, rng) -> np.ndarray:
    """`count` random lengths of 1 or more that add up to `total`."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


SHAPES = {"encoder": Shape("masked tokens", encoder, masked), "decoder": Shape("next token", decoder, causal),
          "encoder_decoder": Shape("spans left out", encoder_decoder, denoising)}


def trained(model, shape: Shape, blocks: np.ndarray, vocab: int, tokens: int, seed: int) -> dict:
    """A copy of the state dict after AdamW on random `blocks` (n, context), at a rate that falls to 0."""
    rng, steps = np.random.default_rng(seed), max(1, tokens // (BATCH * blocks.shape[1]))
    optimizer = torch.optim.AdamW(model.parameters(), LR)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model.train()
    for _ in range(steps):
        loss = model(**shape.batch(blocks[rng.integers(len(blocks), size=BATCH)], vocab, rng)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        falling.step()
    return copy.deepcopy(model.state_dict())  # in which tied tensors stay one


def loss(model, state: dict, batches: list[list[dict]]) -> float:
    """Mean over domains of the loss (nats per token to be told) of `state`; batches: of every domain."""
    model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        return float(np.mean([np.mean([float(model(**batch).loss) for batch in domain]) for domain in batches]))


def shapes(run: Run) -> pd.DataFrame:
    """merge_shapes.csv: per shape and seed, the loss (nats per token to be told) of the best of root and children, of
    the children's mean, and of Evolver by both rules, on development text and on test text."""
    if merge_search.family(run) is None:
        return pd.DataFrame(columns=COLUMNS)
    studies, text = run.lineage.studies, list(merge_search.family(run))
    settings = [studies.tune_tokens, *merge_search.sizes(run), [run.lineage.mix(name)[0] for name in text]]
    todo = tqdm(list(itertools.product(SHAPES, range(studies.replicates))), desc="other shapes", unit="model", delay=5)
    return pd.concat([tables.read(run.stage("merge-shapes", lambda folder, at=at: _shape(run, *at, folder),
                                            [*at, *settings], [run.corpus_stage])) for at in todo], ignore_index=True)


def _shape(run: Run, name: str, seed: int, folder) -> None:
    """One shape from one seed: root, children, and what merging makes of them."""
    shape, studies, vocab = SHAPES[name], run.lineage.studies, len(run.corpus.tokenizer)
    texts = [np.concatenate([run.blocks(domain, "train") for domain in run.lineage.mix(one)[0]]).astype(np.int64)
             for one in merge_search.family(run)]
    torch.manual_seed(seed)
    model = shape.model(vocab, run.corpus.context)
    root = trained(model, shape, texts[0], vocab, ROOT * studies.tune_tokens, seed)
    children = []
    for number, text in enumerate(texts[1:], 1):
        model.load_state_dict(root)
        children.append(trained(model, shape, text, vocab, CHILD * studies.tune_tokens, seed + number))
    halves = {part: _batches(shape, run.held_out(part, studies.search_tokens), vocab) for part in ("dev", "test")}

    def fitness(state):
        return -loss(model, state, halves["dev"])

    made = {"best_single": max([root, *children], key=fitness), "mean": zoo.linear(children)}
    for rule in evolver.RULES:
        how = Evolution(rule, generations=studies.search_budget // 4 - 1, seed=seed)
        made[f"evolver_{rule}"] = evolver.evolve([root, *children, made["mean"]], fitness, how).state
    tables.write(folder, [dict(shape=name, task=shape.task, model_seed=seed, method=method,
                               **{part: loss(model, state, batches) for part, batches in halves.items()})
                          for method, state in made.items()], COLUMNS)


def _batches(shape: Shape, text: dict, vocab: int) -> list[list[dict]]:
    """Of every domain the same batches at every call: what is to be told is drawn once."""
    rng = np.random.default_rng(0)
    return [[shape.batch(blocks[at:at + BATCH].astype(np.int64), vocab, rng) for at in range(0, len(blocks), BATCH)]
            for blocks in text.values()]
