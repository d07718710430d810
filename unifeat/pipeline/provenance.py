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
from unifeat.pipeline import notebook_cache
from unifeat.support import store
from unifeat.support.tables import csv

PACKAGES = ("torch", "transformers", "tokenizers", "transformer-lens", "datasets", "numpy", "scipy", "matplotlib",
            "seaborn", "papermill")


def summary(run: Run) -> dict:
    """What Figure 1 shows: sizes, data, losses and SAEs of this run, and how each model was made."""
    p, losses, saes = run.lineage, run.losses(*run.lineage.names), run.sae_table()
    first = run.model(p.names[0])
    facts = lm.describe(first)
    kind = type(first).__name__.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    facts["kind"] = f"{'One' if facts['layers'] == 1 else facts['layers']}-layer {kind}"
    models = {}
    for name, one in p.models.items():
        domains = dict.fromkeys(p.mix(name)[0])
        own = losses[(losses["model"] == name) & (losses["split"] == "validation") & losses["domain"].isin(domains)]
        data = f"given: {run.given[name].name}" if name in run.given else " + ".join(
            run.theme.domain(domain).label for domain in domains)
        models[name] = dict(data=data, loss=own["loss_nats"].mean(), accuracy=own["accuracy"].mean(),
                            tokens=one.training.tokens if one.training else None, made=made(run, name))
    means = saes.groupby("model")[["width", "l0", "live"]].mean()
    return dict(model=facts, models=models, saes={name: dict(kind=p.sae.kind, **means.loc[name]) for name in p.names})


def made(run: Run, name: str) -> str:
    """How a model came about, in a word or two."""
    one = run.lineage.models[name]
    if one.ends:
        return f"{'SLERP' if one.given else one.method.upper()}, t = {run.merge_t(name):.2f}"
    return {"train": "", "merge": one.method.replace("_", " "), "finetune": "fine-tune",
            "checkpoint": f"step {one.checkpoint.step}" if one.checkpoint else "",
            "given": "given", "untrained": "random weights", "quantized": f"{one.quantized} bits",
            "perturbed": "random step"}[one.ways[0]]


def note(run: Run, more: str = "", hook: bool = True) -> str:
    """The caption line every figure carries: lineage, text and what stands in for what, given models, another hook.

    hook: False where the figure itself says it.
    """
    kinds = {"embedded": "embedded stand-ins, not the paper's data", "hub": "the paper's data sets",
             "files": "your own files"}
    p = run.lineage
    text = " and ".join(dict.fromkeys(kinds[one.source or p.corpora.source] for one in p.text.values()))
    models = "; ".join(f"{name} = {folder.name}" for name, folder in run.given.items())
    place = f" SAEs at {p.sae.hook}." if hook and p.sae.hook != lm.HOOK else ""
    return (f"Lineage {p.name}; corpora: {text}." + (models and f" Models given: {models}.") + place
            + (more and f" {more}"))


def save(run: Run, fig, name: str, **tables: pd.DataFrame):
    """Write figures/<name>.pdf, .png and .json and the tables under data/, and note them in the manifest.

    Nothing is rewritten that would not change. What is left out (`plots.LeftOut`) has <name>.txt instead, which says
    why; a table that is None is not written. Returns the figure, for the notebook to show.
    """
    from unifeat import plots

    out, tables = run.figures, {table: frame for table, frame in tables.items() if frame is not None}
    for table, frame in tables.items():
        store.write_text(out / "data" / f"{table}.csv", csv(frame))
    files, why = [out / f"{name}.{kind}" for kind in ("pdf", "png", "json")], out / f"{name}.txt"
    facts = provenance(run)
    if isinstance(fig, plots.LeftOut):
        for path in files:
            path.unlink(missing_ok=True)
        store.write_text(why, f"{fig.sentence}\n")
        files = [why]
    else:
        why.unlink(missing_ok=True)
        plots.write(fig, out / name)
        store.write_text(files[-1], json.dumps(
            dict(figure=name, data=[f"data/{table}.csv" for table in tables], **facts), indent=1) + "\n")
    wrote(name, *files, *(out / "data" / f"{table}.csv" for table in tables))
    store.write_text(run.figures / "manifest.json", json.dumps(facts, indent=1) + "\n")
    _time(run)
    return fig


def wrote(name: str, *files: Path) -> None:
    """Tell the runner of this notebook, if there is one, that `files` were written for the figure `name`."""
    if log := os.environ.get("UNIFEAT_SAVED"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps([name, *map(str, files)]) + "\n")


def provenance(run: Run) -> dict:
    """What a result depends on: lineage, corpora with hashes, seeds, package versions, commit of the code."""
    p = run.lineage
    rows = [{key: row[key] for key in ("domain", "split", "source", "package", "version", "sha256", "licence",
                                       "documents", "bytes", "tokens")} for row in run.corpus.rows]
    models = {name: dict(folder=folder.name, sha256=given.fingerprint(folder)) for name, folder in run.given.items()}
    trained = {f"model {name}": one.training.seed for name, one in p.models.items() if one.training}
    return dict(lineage=json.loads(json.dumps(dataclasses.asdict(p))), corpora=rows,
                **({"models": models} if models else {}),
                seeds=trained | dict(corpora=p.corpora.seed, model=p.model.seed, saes=list(p.sae.seeds),
                                     comparison=p.comparison.seed),
                packages={name: importlib.metadata.version(name) for name in PACKAGES}, commit=notebook_cache.commit(),
                device=", ".join([lm.device().type, platform.machine(), torch.backends.cpu.get_cpu_capability(),
                                  *["AMX"] * lm.tiles(), str(lm.compute_dtype()).removeprefix("torch.")]))


def _time(run: Run):
    """Seconds that each stage took, in a file of its own since they differ from run to run."""
    path = run.figures / "timings.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    store.write_text(path, json.dumps(dict(sorted({**known, **run.seconds}.items())), indent=1) + "\n")
