"""The pages of results, written from a run's tables: the README's short part and figures/README.md."""

import json
from pathlib import Path

from unifeat.pipeline import results as parts
from unifeat.studies import (
    ancestry,
    checkpoint_answers,
    control_answers,
    dose,
    merge_answers,
    real_model,
    replicates,
    sae_recipes,
    sites,
    value_answers,
)
from unifeat.support import store

MARKERS = ("<!-- results: written by `make notebooks` from figures/data, checked by the tests -->",
           "<!-- end of results -->")

CONTROLS = dict(thresholds="Threshold", densities="Firing density (log10)", mixes="Comparison text",
                kinds="Kind of SAE", sizes="Size of the dictionary (latents per neuron)",
                lengths="Length of training (M activations)", models="Seed of the language model")


def answers(data: Path) -> list[str]:
    """What notebook 09 says of each control, from its tables in the folder `data`; nothing where it has not run."""
    tables = {name: parts.table(data.parent, f"control_{name}") for name in ("initialization", *CONTROLS, "frontier",
                                                                           "sites")}
    if any(frame is None for frame in tables.values()):
        return []
    return [control_answers.answer_initialization(tables["initialization"]),
            *(control_answers.answer(tables[name], title) for name, title in CONTROLS.items()),
            sae_recipes.answer(tables["frontier"]), sites.answer(tables["sites"])]


def results(folder: Path, tau: float = 0.8) -> str:
    """The README's part: shares of every compared pair with ceiling, nulls and excess, and the answer, as Markdown.

    tau: the threshold of the lineage that the run in `folder` is of.
    """
    return "\n".join(parts.headline(folder, tau)) + "\n"


def figures_page(folder: Path) -> str:
    """figures/README.md: what the tables of the run in `folder` say, its figures, and what the columns mean."""
    path = folder / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    lineage = facts.get("lineage", {})
    tau = lineage.get("comparison", {}).get("tau", 0.8)
    about = dict(lineage=lineage.get("name"), device=facts.get("device"), commit=facts.get("commit"))
    run = "; ".join(f"{key} {value}" for key, value in about.items() if value)
    lines = ["# Results", "", "`make notebooks` writes this page from the tables in `data/`; the README defines "
             f"ceiling, null and excess. The run: {run or 'unknown'}.", "", "## What persists", "",
             results(folder, tau).rstrip()]
    for title, part in {"The ladder": parts.ladder(folder), "Sides and features": parts.features(folder, tau),
                        "Arms": parts.arms(folder, tau), "Function": parts.functional(folder),
                        "Weights": parts.weights(folder), "Models": parts.models(folder),
                        "SAEs": parts.saes(folder, tau), "Explanations": parts.explanations(folder),
                        "Studies": _studies(folder), "Controls": _controls(folder), "Figures": parts.figures(folder),
                        "Tables": parts.tables(folder)}.items():
        lines += ["", f"## {title}", "", *part] if part else []
    return "\n".join(lines) + "\n"


def _studies(folder: Path) -> list[str]:
    """What notebooks 11, 13, 14, 15, 20 and 21 answer, where they have run."""
    tables = {name: parts.table(folder, name) for name in ("dose", "dose_zero", "ancestry", "nulls", "replicates")}
    if any(frame is None for frame in tables.values()):
        return []
    said = (dose.answer(tables["dose"]), dose.answer_zero(tables["dose_zero"]), ancestry.answer(tables["ancestry"]),
            ancestry.answer_changes(tables["nulls"]), replicates.answer(tables["replicates"]))
    for answers_ in (checkpoint_answers, merge_answers):
        found = [parts.table(folder, name) for name in answers_.TABLES]
        if found[0] is not None:
            said += (*answers_.said(*found),)
    if (carried := parts.table(folder, "value_networks")) is not None:
        said += (value_answers.answer(carried),)
    if (real := parts.table(folder, "real_model")) is not None:
        said += (real_model.answer(real, real_model.lineage().theme),)
    return ["Written by `make studies` (notebooks 11, 13, 14, 15, 20 and 21): SAEs with less training and two seeds, "
            "so that ceilings are lower.", "", *(f"- {sentence}" for sentence in said)]


def _controls(folder: Path) -> list[str]:
    if not (said := answers(folder / "data")):
        return []
    edge = parts.table(folder, "control_initialization")["edge"].iloc[0]
    return [f"Written by `make controls` (notebook 09): the edge {edge}, both sides' features, one to one. Kinds, "
            "sizes and lengths are compared on SAEs with less training, so their ceilings are lower."
            + _other_run(folder), "",
            *(f"- {sentence}" for sentence in said)]


def _other_run(folder: Path) -> str:
    """A sentence if the controls are of another machine, or other settings, than the rest; "" if not, or where it is
    not known."""
    try:
        own, rest = (json.loads((folder / name).read_text(encoding="utf-8"))
                     for name in ("control_thresholds.json", "manifest.json"))
    except OSError:
        return ""
    if all(own[key] == rest[key] for key in ("device", "lineage")):
        return ""
    other = f"device {own['device']}" if own["device"] != rest["device"] else "other settings"
    return (f" They are of another run than the rest of this page ({other}; commit {own['commit'][:10]}), so the same "
            "share can differ a little.")


def refresh(root: Path) -> None:
    """Write `results` between the markers of root/README.md, and `figures_page` to root/figures/README.md."""
    readme, folder = root / "README.md", root / "figures"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    store.write_text(readme, f"{before}{MARKERS[0]}\n{results(folder)}{MARKERS[1]}{after}")
    store.write_text(folder / "README.md", figures_page(folder))
