"""Figures with their numbers and their provenance: everything that is written under figures/."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess

import pandas as pd

from unifeat import lm, paths, store
from unifeat.profiles import MODELS
from unifeat.stages import Run, csv

PACKAGES = ("torch", "transformers", "tokenizers", "transformer-lens", "datasets", "numpy", "scipy", "matplotlib",
            "seaborn", "papermill")


def summary(run: Run) -> dict:
    """What Figure 1 shows: sizes, data, losses and SAEs of this run."""
    p, losses, saes = run.profile, run.losses(*MODELS), run.sae_table()
    data = {name: " + ".join(dict.fromkeys(domain.capitalize() for domain in run.mix(name)[0]))
            for name in MODELS}
    models = {}
    for name in MODELS:
        own = losses[(losses["model"] == name) & (losses["split"] == "validation")
                     & losses["domain"].isin(run.mix(name)[0])]
        models[name] = dict(data=data[name], loss=own["loss_nats"].mean(), accuracy=own["accuracy"].mean(),
                            tokens=None if name == "merged" else getattr(p, name).tokens)
    means = saes.groupby("model")[["width", "l0", "live"]].mean()
    return dict(model=lm.describe(run.model("base")), models=models, merge=dict(t=run.picked()),
                saes={name: dict(kind=p.sae.kind, **means.loc[name]) for name in MODELS})


def note(run: Run, more: str = "") -> str:
    """The caption line every figure carries: profile, text, and what stands in for what."""
    kinds = {"embedded": "embedded stand-ins, not the paper's data", "hub": "the paper's data sets",
             "files": "your own files"}
    return f"Profile {run.profile.name}; corpora: {kinds[run.profile.corpora.source]}." + (more and f" {more}")


def save(run: Run, fig, name: str, **tables: pd.DataFrame):
    """Write figures/<name>.pdf, .png and .json and the tables under data/, and note them in the manifest.

    Nothing is rewritten that would not change. Returns the figure, for the notebook to show.
    """
    from unifeat import plots

    plots.write(fig, run.figures / name)
    for table, frame in tables.items():
        store.write_text(run.figures / "data" / f"{table}.csv", csv(frame))
    facts = provenance(run)
    store.write_text(run.figures / f"{name}.json", json.dumps(
        dict(figure=name, data=[f"data/{table}.csv" for table in tables], **facts), indent=1) + "\n")
    store.write_text(run.figures / "manifest.json", json.dumps(facts, indent=1) + "\n")
    _time(run)
    if log := os.environ.get("UNIFEAT_SAVED"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
    return fig


def provenance(run: Run) -> dict:
    """What a result depends on: profile, corpora with hashes, seeds, package versions, commit of the code."""
    p = run.profile
    rows = [{key: row[key] for key in ("domain", "split", "source", "package", "version", "sha256", "licence",
                                       "documents", "bytes", "tokens")} for row in run.corpus.rows]
    return dict(profile=json.loads(json.dumps(dataclasses.asdict(p))), corpora=rows,
                seeds=dict(corpora=p.corpora.seed, model=p.model.seed, base=p.base.seed, lua=p.lua.seed,
                           stories=p.stories.seed, saes=list(p.sae.seeds), probe=p.probe.seed),
                packages={name: importlib.metadata.version(name) for name in PACKAGES}, commit=commit(),
                device=f"{lm.device().type}, {platform.machine()}, {lm.compute_dtype()}".replace("torch.", ""))


def _time(run: Run):
    """Seconds per artefact of this store, in a file of their own since they differ from run to run."""
    found = [item for item in map(store.load, sorted(run.root.glob("[!.]*"))) if item]
    seconds = {item.folder.name: item.seconds for item in found}
    store.write_text(run.figures / "timings.json", json.dumps(seconds, indent=1) + "\n")


def commit() -> str:
    """The last commit that changed code, notebooks or pins, "+" if they differ from it; "unknown" outside git."""
    code = ["unifeat", "notebooks", "requirements.lock"]
    try:
        def git(*arguments):
            return subprocess.run(["git", *arguments, "--", *code], cwd=paths.ROOT, check=True, capture_output=True,
                                  text=True).stdout.strip()

        return git("log", "-1", "--format=%H") + ("+" if git("status", "--porcelain") else "") or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
