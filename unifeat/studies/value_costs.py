"""What a value network costs beside a model that generates: weights, and tokens a second (notebook 15)."""

import time

import pandas as pd
import torch

from unifeat.lineage.run import Run
from unifeat.lm import value_network
from unifeat.lm.value_logits import ValueLogits
from unifeat.studies import checkpoints
from unifeat.studies.value_networks import task, value_stage

ROWS, PROMPT, NEW = 8, 16, 64  # texts at once, tokens of each prompt, tokens that are generated
ARMS = ("residual", "cascade")


def costs(run: Run) -> pd.DataFrame:
    """Parameters and generated tokens per second of the root alone and with value networks, greedy, with key-value
    caches. A timing: it is shown and not kept."""
    model = run.model(checkpoints.root(run))
    values = {arm: value_network.load(value_stage(run, arm, checkpoints.root(run)).folder / "model") for arm in ARMS}
    size = sum(one.numel() for one in model.parameters())
    prompt = run.corpus.blocks(task(run), "validation")[:ROWS, :PROMPT]
    new = min(NEW, run.corpus.context - prompt.shape[1])
    rows = [dict(model="alone", parameters=size, tokens_per_s=speed(model, prompt, new, []))]
    for arm, value in values.items():
        more = sum(one.numel() for one in value.network.parameters())
        rows.append(dict(model=f"with {arm}", parameters=size + more,
                         tokens_per_s=speed(model, prompt, new, [ValueLogits(value, base=model)])))
    return pd.DataFrame(rows)


@torch.no_grad()
def speed(model, prompt, new: int, processors: list) -> float:
    """Tokens per second of generating `new` tokens after each row of `prompt` (rows, tokens), after one warm-up."""
    tokens = torch.from_numpy(prompt.astype("int64"))
    for _ in range(2):
        start = time.perf_counter()
        model.generate(tokens, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0,
                       logits_processor=processors)
    return tokens.shape[0] * new / (time.perf_counter() - start)
