"""What a value network adds beside what fine-tuning changes: z_D and z_tuned - z_root, on the root (notebook 15)."""

import numpy as np
import pandas as pd
import torch

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lm import value_network
from unifeat.studies import checkpoints
from unifeat.studies.value_networks import ARMS, possible, runs, task, tuned_stage, value_stage
from unifeat.support import tables

POSITIONS = 2_000  # of held-out text
BINS = 20  # of equal size, of the true difference
DIFFERENCES = ["model_seed", "method", "bin", "true", "value", "value_low", "value_high", "r", "length"]


def differences(run: Run) -> pd.DataFrame:
    """value_differences.csv: z_D of every arm, added to the root, beside the true z_tuned - z_root, on held-out text of
    the task; both with their mean over the vocabulary taken off, which softmax does not see.

    By bin of the true difference (BINS of equal size): its mean, and mean, 10 % and 90 % point of z_D there. r:
    Pearson's over all tokens of the vocabulary and positions; length: |z_D| / |z_tuned - z_root|.
    """
    if not possible(run):
        return pd.DataFrame(columns=DIFFERENCES)
    return pd.concat([tables.read(_differences_stage(one)).assign(model_seed=number)
                      for number, one in enumerate(runs(run))], ignore_index=True)[DIFFERENCES]


def _differences_stage(run: Run):
    root = checkpoints.root(run)
    made, first = {arm: value_stage(run, arm, root) for arm in ARMS}, tuned_stage(run, run, root)

    def build(folder):
        blocks, _ = checkpoints.documents(run, task(run))
        tokens = torch.from_numpy(blocks[:max(1, POSITIONS // blocks.shape[1])].astype(np.int64))
        before = value_network.base_logits(run.model(root), tokens)
        true = centred(value_network.base_logits(lm.load(first.folder / "model"), tokens) - before)
        rows = []
        for arm, stage in made.items():
            with torch.no_grad(), lm.autocast():
                delta = centred(value_network.load(stage.folder / "model").logits(tokens, before, use_cache=False))
            rows += [dict(method=arm) | row for row in binned(true, delta)]
        tables.write(folder, rows, DIFFERENCES[1:])

    return run.stage("value-differences", build, [POSITIONS, BINS], [run.corpus_stage, run.model_stage(root), first,
                                                                     *made.values()])


def centred(z: torch.Tensor) -> np.ndarray:
    """z (..., vocab) less its mean over the vocabulary, as one row of float64."""
    return (z.double() - z.double().mean(-1, keepdim=True)).flatten().numpy()


def binned(true: np.ndarray, value: np.ndarray, bins: int = BINS) -> list[dict]:
    """Rows, as `differences` says, of z_D against the true difference.

    >>> [row["value"].item() for row in binned(np.arange(4.0), 2 * np.arange(4.0), 2)]
    [1.0, 5.0]
    """
    same = dict(r=np.corrcoef(true, value)[0, 1], length=np.linalg.norm(value) / np.linalg.norm(true))
    return [dict(bin=number, true=true[part].mean(), value=value[part].mean(),
                 value_low=np.quantile(value[part], 0.1), value_high=np.quantile(value[part], 0.9)) | same
            for number, part in enumerate(np.array_split(np.argsort(true, kind="stable"), bins))]
