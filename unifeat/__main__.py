"""`python -m unifeat figures` and `controls` run the notebooks; `strip` refreshes the committed ones.

`explorer` writes its page alone, `verify` and `gc` look after the store of results, `export` writes a finished run's
models and SAEs for other libraries, `push` sends such a folder to the hub, `merge` makes a model from a mergekit file.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from unifeat.lineage import settings
from unifeat.pipeline import notebook_cache, notebooks, readme
from unifeat.pipeline.clean_notebooks import strip_notebook
from unifeat.pipeline.notebooks import NotebookError
from unifeat.support import maintenance, paths
from unifeat.support.errors import UnifeatError

KERNEL = {  # read by the C libraries when a kernel starts; measured on two cores of Linux
    "GOMP_SPINCOUNT": "10000",  # threads that wait soon sleep: 5 % slower alone, 8 times faster beside another program
    "MALLOC_MMAP_THRESHOLD_": "4000000000",  # freed tensors are kept for the next step: 15 % faster
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_ARENA_MAX": "1",  # ... in every thread: 4 % more
}
FIGURES = ("corpora", "loss_curves", "domain_matrix", "fig5_merge_sweep", "sae_card", "fig1_design",
           "fig2_flow", "ladder", "fig3_universal", "fig4_vanished", "fig6_explanations", "swap", "verdicts")
LONG = ("09_controls",)  # `controls` runs these, `figures` does not
CONTROLS = tuple(f"control_{name}" for name in ("initialization", "thresholds", "densities", "mixes", "kinds",
                                                "sizes", "lengths", "models", "frontier"))
TABLES = {  # columns in their order
    "models": "model,domain,split,tokens,bytes,loss_nats,accuracy,bits_per_byte",
    "merge_sweep": "method,t,domain,loss_nats,accuracy",
    "saes": "model,kind,seed,arm,width,l0,fvu,ce_recovered_mean,ce_recovered_zero,dead_share,live",
    "persistence": ("arm,parent,child,side,rule,tau,n_parent,n_child,"
                    "observed,ci_low,ci_high,ceiling,null,excess"),
    "flow": "source,target,kind,features,share",
    "explanations": "group,kind,model,seed,feature,explainer,explanation,simulation,detection",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end a run as Ctrl-C does: kernels are shut down and locks are free."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a notebook failed or the store is damaged, 2 bad input, 130 Ctrl-C, 143 terminated."""
    options = _parser().parse_args(arguments)
    try:
        with _terminable():
            return _run(options)
    except UnifeatError as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, NotebookError) else 2
    except KeyboardInterrupt as error:
        ended, status = ("Terminated", 143) if isinstance(error, Terminated) else ("Interrupted", 130)
        print(f"\n{ended}; run the same command again and it continues where it stopped.", file=sys.stderr)
        return status


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "figures":
            return figures(options.profile, options.corpora, options.start, options.models, options.hook)
        case "controls":
            return controls(options.profile, options.corpora)
        case "strip":
            return strip(options.profile)
        case "verify":
            return maintenance.verify(paths.store())
        case "explorer":
            return explore(options.profile, options.corpora, options.models, options.hook)
        case "export":
            return export(options)
        case "estimate":
            return estimate(options.profile, options.corpora)
        case "push":
            return push(options)
        case "merge":
            return merge(options)
        case _:
            return maintenance.gc(paths.store(), options.apply)


@contextlib.contextmanager
def _terminable():
    """Within, SIGTERM raises Terminated."""
    def end(*_):
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m unifeat", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("figures", help="execute the notebooks in order and regenerate every figure")
    run.add_argument("--from", dest="start", default="", metavar="NN", help="first notebook to run")
    more = commands.add_parser("controls", help="execute the notebook of controls, which trains SAEs of its own")
    out = commands.add_parser("export", help="a finished run's model or its SAEs, in another library's layout")
    page = commands.add_parser("explorer", help="write the offline page of all features, and nothing else")
    cost = commands.add_parser("estimate", help="time, memory and disk of a run that trains everything")
    for command in (run, more, out, page, cost):
        command.add_argument("--profile", default="laptop", help="smoke, laptop (default), paper, or a .toml file")
        command.add_argument("--corpora", default="", help="embedded, hub, files, or a folder of yours")
    for command in (run, out, page):
        command.add_argument("--models", default="", help="given models: base=folder,lua=folder,..., or released")
        command.add_argument("--hook", default="", help="where the SAEs read, such as blocks.0.hook_mlp_out")
    clean = commands.add_parser("strip", help="copy executed notebooks over notebooks/, fit to commit")
    clean.add_argument("--profile", default="laptop", help="whose executed notebooks (default: laptop)")
    commands.add_parser("verify", help="read every byte of the store and name what is damaged")
    gc = commands.add_parser("gc", help="list what no recent run asked the store for")
    gc.add_argument("--apply", action="store_true", help="and remove it")
    out.add_argument("--model", required=True, choices=settings.MODELS, help="which of the run's models")
    out.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new folder")
    out.add_argument("--format", default="huggingface", choices=("huggingface", "saelens", "dictionary_learning"),
                     help="the model itself (huggingface, default), or its SAEs in one of the two layouts")
    out.add_argument("--base-model", action="append", default=[], metavar="NAME", help="hub name the card links to")
    mix = commands.add_parser("merge", help="merge two models as a mergekit file says (method slerp or linear)")
    mix.add_argument("recipe", type=Path, help="mergekit's YAML")
    mix.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new folder")
    up = commands.add_parser("push", help="upload an exported folder to the Hugging Face hub, privately")
    up.add_argument("folder", type=Path)
    up.add_argument("repo_id", help="owner/name on the hub")
    up.add_argument("--public", action="store_true", help="a new repository is visible to everyone")
    return parser


def figures(profile: str, corpora: str, start: str, models: str = "", hook: str = "") -> int:
    """Execute the notebooks from number `start` on, a line for each, and check that every figure is there.

    Raises:
        UnifeatError: unknown profile, corpora, models or start.
        NotebookError: a cell failed, or a figure or table is missing at the end.
    """
    found = notebooks.find_notebooks(paths.ROOT / "notebooks", start)
    if not models and not any(paths.store().glob("model-base-*")):
        estimate(profile, corpora)
    return _execute([path for path in found if path.stem not in LONG], profile, corpora, FIGURES, TABLES,
                    again=bool(start), models=models, hook=hook)


def controls(profile: str, corpora: str) -> int:
    """Execute the notebooks that `figures` leaves out, and check that every control's figure is there.

    Raises:
        UnifeatError: unknown profile or corpora.
        NotebookError: a cell failed, or a figure is missing at the end.
    """
    found = [path for path in notebooks.find_notebooks(paths.ROOT / "notebooks") if path.stem in LONG]
    return _execute(found, profile, corpora, CONTROLS, {})


def explore(profile: str, corpora: str, models: str = "", hook: str = "") -> int:
    """Write explorer.html of a run, from the store where its stages are there; a line says where and how large.

    Raises:
        UnifeatError: unknown profile, corpora or explainer, or a page that is too large.
    """
    from unifeat.autointerp import explain
    from unifeat.explorer import page
    from unifeat.lineage.run import open_run

    run = open_run(profile, corpora, models, hook)
    frames = explain.explained(run) if (os.environ.get("EXPLAINER") or "lexical") != "lexical" else None
    print(page.write(run, run.figures / "explorer.html", frames))
    return 0


def _execute(notebooks: list[Path], profile: str, corpora: str, promised, tables, again: bool = False,
             models: str = "", hook: str = "") -> int:
    """Run those notebooks of which something changed and check what they promised; `again`: run all of these."""
    if profile.endswith(".toml"):
        profile = str(Path(profile).expanduser().resolve())  # a notebook runs in its own folder
    profile_, more = settings.choose(profile, corpora, hook), {}
    if models:
        from unifeat.lineage import given

        given = given.choose(models, paths.downloads())
        settings, more = given.fit(settings, given), {role: given.fingerprint(given[role]) for role in given}
    corpora = corpora if corpora in ("", *settings.SOURCES) else settings.corpora.folder
    os.environ.update(UNIFEAT_PROFILE=profile, UNIFEAT_CORPORA=corpora, UNIFEAT_HOOK=hook,
                      UNIFEAT_MODELS=given.resolved(models, given) if models else "")
    for name, value in KERNEL.items():
        os.environ.setdefault(name, value)
    which = (profile, corpora, models, hook)
    folder, began = paths.figures(*which), time.perf_counter()
    parameters = dict(PROFILE=profile, CORPORA=corpora)
    name = f"{'controls' if promised is CONTROLS else 'figures'}-{paths.run_name(*which)}"
    with maintenance.asking(paths.store(), name) as left_out:
        outcomes = notebooks.run_notebooks(notebooks, executed(*which), parameters, _print,
                                        notebook_cache.state(settings, parameters | more), again)
        left_out += [outcome.name for outcome in outcomes if not outcome.ran] + (["those before"] if again else [])
    # from some number on, the figures before it are of an earlier run
    saved = set(promised) if again else {name for outcome in outcomes for name in outcome.saved}
    check_figures(folder, saved, promised, tables)
    where = paths.relative(folder)
    print(f"{len(promised)} figures are in {where}/, their numbers in {where}/data/ "
          f"({time.perf_counter() - began:.0f} s in all).")
    return 0


def strip(profile: str) -> int:
    """Copy the executed notebooks of `profile` over those in notebooks/, without traces of the run; the README too."""
    for path in notebooks.find_notebooks(paths.ROOT / "notebooks"):
        if path.stem in LONG and not (executed(profile, "") / path.name).is_file():
            continue  # `controls` has not run here; the committed copy stays
        strip_notebook(executed(profile, "") / path.name, path, paths.ROOT)
        print(f"notebooks/{path.name}")

    readme.refresh_readme(paths.ROOT / "README.md", paths.ROOT / "figures")
    return 0


def estimate(profile: str, corpora: str) -> int:
    """Print what a run that trains everything takes here, tried for a few seconds."""
    from unifeat.pipeline import estimate as estimates

    print(estimates.sentence(estimates.estimate(settings.choose(profile, corpora))), flush=True)
    return 0


def export(options: argparse.Namespace) -> int:
    """Write one model, or its SAEs, of a finished run into a new folder."""
    from unifeat.lineage.run import open_run
    from unifeat.pipeline import export as exporter

    run = open_run(options.profile, options.corpora, options.models, options.hook)
    exporter.export(run, options.model, options.to, options.format, options.base_model)
    print(f"{options.model} is in {options.to}; its README.md says what it was trained on and how well it does.")
    return 0


def push(options: argparse.Namespace) -> int:
    """Upload an exported folder to the hub."""
    from unifeat.pipeline import export as exporter

    print(f"{options.folder} is at {exporter.push(options.folder, options.repo_id, options.public)}.")
    return 0


def merge(options: argparse.Namespace) -> int:
    """Merge two models as a mergekit file says."""
    from unifeat.merging import mergekit

    found = mergekit.apply(options.recipe, options.to)
    print(f"{options.to} holds {found.method} of {found.models[0]} (t = 0) and {found.models[1]} at t = {found.t:g}.")
    return 0


def executed(profile: str, corpora: str, models: str = "", hook: str = "") -> Path:
    """Folder of the executed notebooks of a run."""
    return paths.ROOT / "build" / "notebooks" / paths.run_name(profile, corpora, models, hook)


def check_figures(folder: Path, saved: set[str], promised=FIGURES, tables=TABLES) -> None:
    """Every promised file is in `folder`, saved by this run, and every promised table has its columns.

    Raises:
        NotebookError: names the first that is not.
    """
    files = [f"{name}.{kind}" for name in promised for kind in ("pdf", "png", "json")]
    files += [f"data/{name}.csv" for name in tables] + ["manifest.json"]
    for name in files:
        if not (folder / name).is_file() or not (folder / name).stat().st_size:
            raise NotebookError(f"The notebooks ran, but {paths.relative(folder)}/{name} was not written.")
    for name, columns in tables.items():
        header, *rows = (folder / "data" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        if header != columns or not rows:
            raise NotebookError(f"The notebooks ran, but data/{name}.csv has {len(rows)} rows and columns "
                                f"{header}; it must have the columns {columns}.")
    for name in promised:
        if name not in saved:
            raise NotebookError(f"The notebooks ran, but none of them saved {name}: the file in "
                                f"{paths.relative(folder)}/ is of an earlier run.")


def _print(outcome) -> None:
    saved = ", ".join(outcome.saved) or "no figures"
    print(f"{outcome.name:<24}{outcome.seconds:7.1f} s  {saved}{'' if outcome.ran else ' (unchanged)'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
