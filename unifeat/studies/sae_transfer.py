"""The swap test: every model's SAE on every model's activations."""


import numpy as np
import pandas as pd

from unifeat import sae
from unifeat.lineage.run import Run
from unifeat.support import tables

SWAP_COLUMNS = ["sae_model", "seed", "model", "l0", "fvu", "ce_recovered_mean", "ce_recovered_zero"]


def swap(run: Run) -> pd.DataFrame:
    """swap.csv: the first SAE of every model on every model's activations, on held-out text of what its SAEs read.

    sae_model, seed: the SAE (the lineage's first seed); model: whose activations it reads and replaces; metrics as in
    `sae.evaluate`, those at home taken from saes.csv, which also says how far seeds differ there. The SAE keeps its
    own scale, so this is its plain use on another model. (On text a child has forgotten, another model's SAE may lower
    its loss, and more than everything would be "recovered".)
    """
    seed = run.lineage.sae.seeds[0]

    def build(folder):
        rows = []
        for model in run.lineage.names:
            domains, _ = run.lineage.sae_text(model)
            blocks = np.concatenate([run.blocks(d, tokens=run.lineage.evaluation.tokens // len(domains))
                                     for d in domains])
            away = [name for name in run.lineage.names if name != model]
            others = sae.evaluate([run.sae(name, seed) for name in away], run.model(model), blocks) if away else []
            found = dict(zip(away, others, strict=True)) | {
                model: run.sae_table(model).set_index("seed").loc[seed].to_dict()}
            rows += [found[name] | dict(sae_model=name, seed=seed, model=model) for name in run.lineage.names]
        tables.write(folder, rows, SWAP_COLUMNS)

    config, inputs = [run.lineage.evaluation, seed], [run.metric_stage(name) for name in run.lineage.names]
    return tables.read(run.stage("swap", build, config, inputs))
