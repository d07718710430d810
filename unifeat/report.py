"""Figures with their numbers and their provenance: everything that is written under figures/."""

import dataclasses
import importlib.metadata
import json
import os
import platform
from pathlib import Path

import pandas as pd
import torch

from unifeat import controls, frontier, lm, ownmodels, records, store, weights
from unifeat.profiles import MODELS
from unifeat.stages import Run
from unifeat.tables import csv

PACKAGES = ("torch", "transformers", "tokenizers", "transformer-lens", "datasets", "numpy", "scipy", "matplotlib",
            "seaborn", "papermill")

CONTROLS = dict(thresholds="Threshold", densities="Firing density (log10)", mixes="Text of the probe",
                kinds="Kind of SAE", sizes="Size of the dictionary (latents per neuron)",
                lengths="Length of training (M activations)", models="Seed of the language model")
MARKERS = ("<!-- results: written by `make notebooks` from figures/data, checked by the tests -->",
           "<!-- end of results -->")


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
    given = {role: dict(folder=folder.name, sha256=ownmodels.fingerprint(folder)) for role, folder in run.given.items()}
    return dict(profile=json.loads(json.dumps(dataclasses.asdict(p))), corpora=rows,
                **({"models": given} if given else {}),
                seeds=dict(corpora=p.corpora.seed, model=p.model.seed, base=p.base.seed, lua=p.lua.seed,
                           stories=p.stories.seed, saes=list(p.sae.seeds), probe=p.probe.seed),
                packages={name: importlib.metadata.version(name) for name in PACKAGES}, commit=records.commit(),
                device=", ".join([lm.device().type, platform.machine(), torch.backends.cpu.get_cpu_capability(),
                                  *["AMX"] * lm.tiles(), str(lm.compute_dtype()).removeprefix("torch.")]))


def _time(run: Run):
    """Seconds that each stage took, in a file of its own since they differ from run to run."""
    path = run.figures / "timings.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    store.write_text(path, json.dumps(dict(sorted({**known, **run.seconds}.items())), indent=1) + "\n")


def results(folder: Path, tau: float = 0.8) -> str:
    """The README's results, as Markdown, from the tables under `folder`/data."""
    frame, models, saes = (pd.read_csv(folder / "data" / f"{name}.csv") for name in ("persistence", "models", "saes"))
    frame = frame[(frame["tau"] == tau) & (frame["rule"] == "one_to_one")]
    ceilings = {row.parent if row.side == "parent" else row.child: row.ceiling for row in frame.itertuples()}
    frame = frame[frame["side"] == "child"]
    published = frame[frame["arm"] == "as_published"].set_index(["parent", "child"])["observed"]
    lines = ["Share of the child's live features with a one-to-one partner in the parent at r >= 0.8:", "",
             "| from -> to | observed [95 % interval] | seed ceiling | null | excess | same initial weights |",
             "|---|---|---|---|---|---|"]
    for row in frame[frame["arm"] == "controlled"].itertuples():
        lines.append(f"| {row.parent} -> {row.child} | {row.observed:.1%} [{row.ci_low:.1%}, {row.ci_high:.1%}] | "
                     f"{row.ceiling:.1%} | {row.null:.1%} | {row.excess:.2f} | "
                     f"{published[row.parent, row.child]:.1%} |")
    rungs = pd.read_csv(folder / "data" / "ladder.csv")
    rungs = rungs[(rungs["group"] == "SAE of an untrained model") & (rungs["rule"] == "one_to_one")]
    least, most = rungs["observed"].min(), rungs["observed"].max()
    lines += ["", "Read the small shares with the ladder: an SAE of a language model that was *never trained* already "
              f"shares {least:.1%}-{most:.1%} of the four models' features at the same threshold, so permuted tokens "
              "are too easy a null, and a share of this size says little about what training taught."]
    lines += ["", _neurons(pd.read_csv(folder / "data" / "weights.csv"))]
    own = models[(models["split"] == "validation") & models["model"].isin(["base", "ngram"])]
    bits = own.pivot(index="model", columns="domain", values="bits_per_byte")
    children = models[models["split"] == "validation"].set_index(["model", "domain"])["bits_per_byte"]
    lines += ["", f"Held-out bits per byte: base {bits.loc['base', 'english']:.2f} English and "
              f"{bits.loc['base', 'python']:.2f} Python (Kneser-Ney 5-gram: {bits.loc['ngram', 'english']:.2f} and "
              f"{bits.loc['ngram', 'python']:.2f}), Stories child {children['stories', 'stories']:.2f} on stories, Lua "
              f"child {children['lua', 'lua']:.2f} on Lua. SAEs: L0 {saes['l0'].min():.1f}-{saes['l0'].max():.1f}, "
              f"cross-entropy recovered {saes['ce_recovered_mean'].min():.1%}-{saes['ce_recovered_mean'].max():.1%} "
              f"against mean ablation, dead latents at most {saes['dead_share'].max():.1%}; seed ceilings "
              f"{', '.join(f'{name} {ceilings[name]:.1%}' for name in MODELS)}."]
    if said := answers(folder / "data"):
        lines += ["", "The controls (`make controls`, notebook 9), on the edge base -> lua. Excess is (observed - "
                  "null) / (ceiling - null), with its 95 % interval. Kinds, sizes and lengths are "
                  "compared on SAEs trained for less, with lower ceilings. Tables: `figures/data/control_*.csv`.", "",
                  *(f"- {sentence}" for sentence in said)]
    return "\n".join(lines) + "\n"


def answers(data: Path) -> list[str]:
    """What notebook 09 says of each control, from its tables in the folder `data`; nothing where it has not run."""
    if not (data / "control_frontier.csv").is_file():
        return []
    tables = {name: pd.read_csv(data / f"control_{name}.csv") for name in ("initialization", *CONTROLS, "frontier")}
    return [controls.answer_initialization(tables["initialization"]),
            *(controls.answer(tables[name], title) for name, title in CONTROLS.items()),
            frontier.answer(tables["frontier"])]


def _neurons(frame: pd.DataFrame) -> str:
    """What single neurons have to do with the shares, from weights.csv."""
    rest = frame[(frame["features"] == weights.FEATURES[1]) & (frame["verdict"] == "r")].drop_duplicates("edge")
    alone = {edge.split()[-1]: f"{1 - share:.0%}" for edge, share in zip(rest["edge"], rest["share"], strict=True)}
    return ("Part of every share, ceilings included, is the neurons themselves: a feature that is one MLP neuron "
            "(decoder within a cosine of 0.8 of its axis) is found again by nearly every SAE, and "
            f"{', '.join(f'{share} of the features of {name}' for name, share in alone.items())} are of that kind. "
            f"{weights.answer(frame)}")


def refresh_readme(readme: Path, folder: Path) -> None:
    """Put `results` between the README's two markers."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    store.write_text(readme, f"{before}{MARKERS[0]}\n{results(folder)}{MARKERS[1]}{after}")
