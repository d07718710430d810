"""Figures with their numbers and what they depend on: everything that is written under figures/."""

import dataclasses
import importlib.metadata
import json
import os
import platform
from pathlib import Path

import pandas as pd
import torch

from unifeat import lm
from unifeat.lineage import given
from unifeat.lineage.run import Run
from unifeat.lineage.settings import MODELS
from unifeat.pipeline import notebook_cache
from unifeat.support import store
from unifeat.support.tables import csv

PACKAGES = ("torch", "transformers", "tokenizers", "transformer-lens", "datasets", "numpy", "scipy", "matplotlib",
            "seaborn", "papermill")


def summary(run: Run) -> dict:
    """What Figure 1 shows: sizes, data, losses and SAEs of this run."""
    p, losses, saes = run.profile, run.losses(*MODELS), run.sae_table()
    data = {name: f"given: {run.given[name].name}" if name in run.given else
            " + ".join(dict.fromkeys(domain.capitalize() for domain in run.mix(name)[0])) for name in MODELS}
    base = run.model("base")
    facts = lm.describe(base)
    kind = type(base).__name__.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    facts["kind"] = f"{'One' if facts['layers'] == 1 else facts['layers']}-layer {kind}"
    models = {}
    for name in MODELS:
        own = losses[(losses["model"] == name) & (losses["split"] == "validation")
                     & losses["domain"].isin(run.mix(name)[0])]
        models[name] = dict(data=data[name], loss=own["loss_nats"].mean(), accuracy=own["accuracy"].mean(),
                            tokens=None if name == "merged" or name in run.given else getattr(p, name).tokens)
    means = saes.groupby("model")[["width", "l0", "live"]].mean()
    return dict(model=facts, models=models, merge=dict(t=run.picked()),
                saes={name: dict(kind=p.sae.kind, **means.loc[name]) for name in MODELS})


def note(run: Run, more: str = "") -> str:
    """The caption line every figure carries: profile, text and what stands in for what, given models, another hook."""
    kinds = {"embedded": "embedded stand-ins, not the paper's data", "hub": "the paper's data sets",
             "files": "your own files"}
    given = "; ".join(f"{role} = {folder.name}" for role, folder in run.given.items())
    hook = "" if run.profile.sae.hook == lm.HOOK else f" SAEs at {run.profile.sae.hook}."
    return (f"Profile {run.profile.name}; corpora: {kinds[run.profile.corpora.source]}."
            + (given and f" Models given: {given}.") + hook + (more and f" {more}"))


def save(run: Run, fig, name: str, **tables: pd.DataFrame):
    """Write figures/<name>.pdf, .png and .json and the tables under data/, and note them in the manifest.

    Nothing is rewritten that would not change. Returns the figure, for the notebook to show.
    """
    from unifeat import plots

    plots.write(fig, run.figures / name)
    for table, frame in tables.items():
        store.write_text(run.figures / "data" / f"{table}.csv", csv(frame))
    wrote(name, *(run.figures / f"{name}.{kind}" for kind in ("pdf", "png", "json")),
          *(run.figures / "data" / f"{table}.csv" for table in tables))
    facts = provenance(run)
    store.write_text(run.figures / f"{name}.json", json.dumps(
        dict(figure=name, data=[f"data/{table}.csv" for table in tables], **facts), indent=1) + "\n")
    store.write_text(run.figures / "manifest.json", json.dumps(facts, indent=1) + "\n")
    _time(run)
    return fig


def wrote(name: str, *files: Path) -> None:
    """Tell the runner of this notebook, if there is one, that `files` were written for the figure `name`."""
    if log := os.environ.get("UNIFEAT_SAVED"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps([name, *map(str, files)]) + "\n")


def provenance(run: Run) -> dict:
    """What a result depends on: profile, corpora with hashes, seeds, package versions, commit of the code."""
    p = run.profile
    rows = [{key: row[key] for key in ("domain", "split", "source", "package", "version", "sha256", "licence",
                                       "documents", "bytes", "tokens")} for row in run.corpus.rows]
    given = {role: dict(folder=folder.name, sha256=given.fingerprint(folder)) for role, folder in run.given.items()}
    return dict(profile=json.loads(json.dumps(dataclasses.asdict(p))), corpora=rows,
                **({"models": given} if given else {}),
                seeds=dict(corpora=p.corpora.seed, model=p.model.seed, base=p.base.seed, lua=p.lua.seed,
                           stories=p.stories.seed, saes=list(p.sae.seeds), probe=p.probe.seed),
                packages={name: importlib.metadata.version(name) for name in PACKAGES}, commit=notebook_cache.commit(),
                device=", ".join([lm.device().type, platform.machine(), torch.backends.cpu.get_cpu_capability(),
                                  *["AMX"] * lm.tiles(), str(lm.compute_dtype()).removeprefix("torch.")]))


def _time(run: Run):
    """Seconds that each stage took, in a file of its own since they differ from run to run."""
    path = run.figures / "timings.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    store.write_text(path, json.dumps(dict(sorted({**known, **run.seconds}.items())), indent=1) + "\n")
