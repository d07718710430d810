"""The commands of `unifeat`, as functions: each prints what it did and gives an exit status."""

import argparse
import os
import time
from pathlib import Path

from unifeat.lineage import Lineage, choose
from unifeat.pipeline import notebook_cache, notebooks, promises
from unifeat.pipeline.clean_notebooks import answer_notebook, strip_notebook
from unifeat.support import maintenance, paths
from unifeat.support.errors import UnifeatError

KERNEL = {  # read by the C libraries when a kernel starts; measured on two cores of Linux
    "GOMP_SPINCOUNT": "10000",  # threads that wait soon sleep: 5 % slower alone, 8 times faster beside another program
    "MALLOC_MMAP_THRESHOLD_": "4000000000",  # freed tensors are kept for the next step: 15 % faster
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_ARENA_MAX": "1",  # ... in every thread: 4 % more
}


def figures(options: argparse.Namespace) -> int:
    """Execute the notebooks from number `start` on, a line for each, and check that every figure is there.

    Raises:
        UnifeatError: unknown lineage, corpora, models or start.
        NotebookError: a cell failed, or a figure or table is missing at the end.
    """
    found = notebooks.find_notebooks(paths.ROOT / "notebooks", options.start)
    which = _which(options)
    lineage = choose(which[0], which[1], which[3], which[2])
    first = lineage.names[0]
    if not lineage.models[first].given and not any(paths.store().glob(f"model-{first}-*")):
        estimate(options)
    found = [path for path in found if path.stem not in (*promises.LONG, *promises.STUDIES)]
    done = _execute(found, which, lineage, promises.FIGURES, promises.TABLES, again=bool(options.start))
    if paths.figures(*which) == paths.ROOT / "figures":
        _compare_with_committed(paths.ROOT / "figures", lineage.comparison.tau)
    return done


def controls(options: argparse.Namespace) -> int:
    """Execute the notebooks that `figures` leaves out, and check that every control's figure is there.

    Raises:
        UnifeatError: unknown lineage or corpora, or a lineage without an edge.
        NotebookError: a cell failed, or a figure is missing at the end.
    """
    found = [path for path in notebooks.find_notebooks(paths.ROOT / "notebooks") if path.stem in promises.LONG]
    which = _which(options)
    return _execute(found, which, choose(which[0], which[1], which[3], which[2]), promises.CONTROLS, {}, "controls")


def studies(options: argparse.Namespace) -> int:
    """Execute the notebooks of studies, all or the one of a number, and check their figures and tables.

    Raises:
        UnifeatError: unknown lineage, corpora or number.
        NotebookError: a cell failed, or a figure or table is missing at the end.
    """
    found = [path for path in notebooks.find_notebooks(paths.ROOT / "notebooks") if path.stem in promises.STUDIES]
    numbers = [path.name.split("_")[0] for path in found]
    if options.only and options.only.zfill(2) not in numbers:
        raise UnifeatError(f"N={options.only} is the number of no study; choose one of {', '.join(numbers)}.")
    found = [path for path in found if not options.only or path.name.startswith(f"{options.only.zfill(2)}_")]
    which = _which(options)
    promised = [promises.STUDIES[path.stem] for path in found]
    return _execute(found, which, choose(which[0], which[1], which[3], which[2]),
                    tuple(name for figures_, _ in promised for name in figures_),
                    {name: columns for _, tables in promised for name, columns in tables.items()}, "studies")


def _which(options: argparse.Namespace) -> tuple[str, str, str, str]:
    """lineage, corpora, models and hook as another process in another folder reads them."""
    lineage = options.lineage
    if lineage.endswith(".toml"):
        lineage = str(Path(lineage).expanduser().resolve())
    corpora, models = options.corpora, getattr(options, "models", "")
    if corpora and Path(corpora).expanduser().is_dir():
        corpora = str(Path(corpora).expanduser().resolve())
    if models:
        found = choose(lineage, corpora, "", models)
        models = ",".join(f"{name}{':' + one.parent if one.parent else ''}={one.given}" for name,
                          one in found.models.items())
    return lineage, corpora, models, getattr(options, "hook", "")


def _execute(found: list[Path], which, lineage: Lineage, promised, tables, kind: str = "figures",
             again: bool = False) -> int:
    """Run those notebooks of which something changed and check what they promised; `again`: run all of these."""
    more = {}
    if any(one.given for one in lineage.models.values()):
        from unifeat.lineage import given  # with torch, which a run of trained models need not wait for

        folders = given.folders(lineage, paths.downloads())
        lineage, more = given.fit(lineage, folders), {name: given.fingerprint(path) for name, path in folders.items()}
    os.environ.update({f"UNIFEAT_{name}": value for name, value in
                       zip(("LINEAGE", "CORPORA", "MODELS", "HOOK"), which, strict=True)})
    for name, value in KERNEL.items():
        os.environ.setdefault(name, value)
    folder, began = paths.figures(*which), time.perf_counter()
    for place, name in ((folder, "UNIFEAT_FIGURES"), (executed(*which), "UNIFEAT_STORE")):
        paths.writable(place, name)
    parameters = dict(LINEAGE=which[0], CORPORA=which[1])
    more["order"] = [lineage.names, lineage.domains]  # of which figures depend too, and which no digest of tables sees
    with maintenance.asking(paths.store(), f"{kind}-{paths.run_name(*which)}") as left_out:
        outcomes = notebooks.run_notebooks(found, executed(*which), parameters, _print,
                                           notebook_cache.state(lineage, parameters | more), again)
        left_out += [outcome.name for outcome in outcomes if not outcome.ran] + (["those before"] if again else [])
    # from some number on, the figures before it are of an earlier run
    saved = set(promised) if again else {name for outcome in outcomes for name in outcome.saved}
    without = promises.check(folder, saved, promised, tables, bool(lineage.edges))
    where = paths.relative(folder)
    print(f"{len(promised) - len(without)} figures are in {where}/, their numbers in {where}/data/ "
          f"({time.perf_counter() - began:.0f} s in all).")
    for sentence in without:
        print(f"Left out: {sentence}")
    return 0


def _compare_with_committed(folder: Path, tau: float) -> None:
    """Say of each headline number whether this machine's agrees with the committed one."""
    import pandas as pd

    from unifeat.pipeline import headline

    path = folder / "headline.csv"
    if path.is_file():
        print("This machine's run and the committed one, with their 95 % intervals:")
        print("\n".join(f"  {line}" for line in headline.agreement(headline.numbers(folder, tau), pd.read_csv(path))))


def strip(options: argparse.Namespace) -> int:
    """Copy the executed notebooks of a lineage over those in notebooks/, without traces of the run; the pages of
    results and the headline numbers too."""
    from unifeat.pipeline import answers, headline, readme  # with torch, which the other commands need not wait for
    from unifeat.support import store
    from unifeat.support.tables import csv

    lineage, figures_ = choose(options.lineage), paths.ROOT / "figures"
    readme.refresh(paths.ROOT)
    for path in notebooks.find_notebooks(paths.ROOT / "notebooks"):
        done, answer = executed(options.lineage, "") / path.name, answers.answer(path.stem, figures_, lineage)
        if path.stem in (*promises.LONG, *promises.STUDIES) and not done.is_file():
            answer_notebook(path, answer)  # it has not run here; the rest of the committed copy stays
            continue
        strip_notebook(done, path, paths.ROOT, answer)
        print(f"notebooks/{path.name}")
    _guide()
    store.write_text(figures_ / "headline.csv", csv(headline.numbers(figures_, lineage.comparison.tau)))
    return 0


def _guide() -> None:
    """Execute the guide and copy it over the committed one, with its answer."""
    from unifeat.lineage import demo
    from unifeat.lineage.run import opened
    from unifeat.pipeline import answers
    from unifeat.studies import persistence

    guide, where = paths.ROOT / "notebooks" / f"{promises.GUIDE}.ipynb", paths.notebooks() / "guide"
    notebooks.run_notebooks([guide], where, {}, _print, notebook_cache.code())
    run = opened(choose(demo.make() / "mine.toml", hook=demo.HOOK), where)
    answer = answers.guide(persistence.persistence(run), run.lineage.comparison.tau)
    strip_notebook(where / guide.name, guide, paths.ROOT, answer)


def explorer(options: argparse.Namespace) -> int:
    """Write explorer.html of a run, from the store where its stages are there; a line says where and how large.

    Raises:
        UnifeatError: unknown lineage, corpora or explainer, or a page that is too large.
    """
    from unifeat.autointerp import explain  # with torch, which the other commands need not wait for
    from unifeat.explorer import page
    from unifeat.lineage.run import open_run

    run = open_run(*_which(options))
    frames = explain.explained(run) if (os.environ.get("EXPLAINER") or "lexical") != "lexical" else None
    print(page.write(run, run.figures / "explorer.html", frames))
    return 0


def estimate(options: argparse.Namespace) -> int:
    """Print what a run that trains everything takes here, tried for a few seconds."""
    from unifeat.pipeline import estimate as estimates  # with torch, which the other commands need not wait for

    print(estimates.sentence(estimates.estimate(choose(options.lineage, options.corpora))), flush=True)
    return 0


def export(options: argparse.Namespace) -> int:
    """Write one model, or its SAEs, of a finished run into a new folder."""
    from unifeat.lineage.run import open_run  # with torch, which the other commands need not wait for
    from unifeat.pipeline import export as exporter

    run = open_run(*_which(options))
    exporter.export(run, options.model, options.to, options.format, options.base_model)
    print(f"{options.model} is in {options.to}; its README.md says what it was trained on and how well it does.")
    return 0


def push(options: argparse.Namespace) -> int:
    """Upload an exported folder to the hub."""
    from unifeat.pipeline import export as exporter

    print(f"{options.folder} is at {exporter.push(options.folder, options.repo_id, options.public)}.")
    return 0


def merge(options: argparse.Namespace) -> int:
    """Merge models as a mergekit file says."""
    from unifeat.merging import streaming

    found = streaming.apply(options.recipe, options.to)
    print(f"{options.to} holds {found.method} of {' and '.join(found.models)}"
          + (f" on {found.base}." if found.base else "."))
    return 0


def verify(options: argparse.Namespace) -> int:
    """Read every byte of the store and name what is damaged."""
    return maintenance.verify(paths.store())


def gc(options: argparse.Namespace) -> int:
    """List, or remove, what no recent run asked the store for."""
    return maintenance.gc(paths.store(), options.apply)


def executed(lineage: str, corpora: str, models: str = "", hook: str = "") -> Path:
    """Folder of the executed notebooks of a run."""
    return paths.notebooks() / paths.run_name(lineage, corpora, models, hook)


def _print(outcome) -> None:
    saved = ", ".join(outcome.saved) or "no figures"
    print(f"{outcome.name:<24}{outcome.seconds:7.1f} s  {saved}{'' if outcome.ran else ' (unchanged)'}", flush=True)
