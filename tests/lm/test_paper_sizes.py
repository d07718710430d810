"""The paper's own sizes on any machine, for as many steps as a test can wait for."""

import dataclasses

import numpy as np
import torch

from unifeat import lm, sae
from unifeat.lineage import read
from unifeat.lm import training
from unifeat.sae import training as sae_training

PAPER = read("paper")


def test_language_model_and_sae_train_at_full_size(tmp_path):
    context, vocab = PAPER.corpora.context, PAPER.corpora.vocab
    model = lm.build(PAPER.model, vocab, context)
    assert round(sum(value.numel() for value in model.parameters()) / 1e6, 1) == 35.1  # the paper's
    text = np.tile(np.arange(1, context + 1), (8, 1))
    config = dataclasses.replace(PAPER.models["base"].train, text=("english",), weights=(1.0,), batch=2,
                                 tokens=4 * 2 * context, evaluations=2)
    log = training.train(model, {"english": text}, config, {"english": text[:2]}, folder=tmp_path)
    before, after = (row["loss"] for row in log if row["split"] == "validation")
    assert before > 10 and after < before - 1  # ln 32,000 is 10.4

    config = dataclasses.replace(PAPER.sae, seeds=PAPER.sae.seeds[:1], batch=1024, buffer=2048, tokens=3 * 1024)
    (one,), log = sae_training.train(model, [text], [1.0], config, folder=tmp_path)
    assert one.w_enc.shape == (PAPER.sae.width, PAPER.model.d_mlp) == (16_384, 1024)
    (found,) = sae.evaluate([one], model, text[:2])
    assert found["l0"] <= PAPER.sae.k and np.isfinite(found["fvu"]) and torch.isfinite(one.w_dec).all()
