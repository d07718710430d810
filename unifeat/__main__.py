"""unifeat: follow the features of a language model through fine-tuning and merging.

`track` compares two models or SAEs and writes one page. In a clone of the repository, `figures`, `controls` and
`studies` run the notebooks; `strip` refreshes the committed ones; `explorer` writes its page alone; `verify` and `gc`
look after the store of results; `export` writes a finished run's models and SAEs for other libraries, `push` sends such
a folder to the hub, `merge` makes a model from a mergekit file, `value` trains a value network and adds it to a model.
"""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from unifeat.pipeline import commands
from unifeat.pipeline.notebooks import NotebookError
from unifeat.support.errors import UnifeatError
from unifeat.track import command as tracking


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end a run as Ctrl-C does: kernels are shut down and locks are free."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a notebook failed or the store is damaged, 2 bad input, 3 a track's share is below
    --fail-under, 130 Ctrl-C, 143 terminated."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that is not UTF-8 shows \\xe9 for what it lacks
            stream.reconfigure(errors="backslashreplace")
    os.environ.pop("MPLBACKEND", None)  # an unknown one stops matplotlib's import, here and in notebooks' kernels
    options = _parser().parse_args(arguments)
    try:
        with _terminable():
            return options.func(options)
    except UnifeatError as error:
        print(_plain(str(error)), file=sys.stderr)
        return 1 if isinstance(error, NotebookError) else 2
    except KeyboardInterrupt as error:
        ended, status = ("Terminated", 143) if isinstance(error, Terminated) else ("Interrupted", 130)
        print(f"\n{ended}; run the same command again and it continues where it stopped.", file=sys.stderr)
        return status


def _plain(text: str) -> str:
    """Text for a terminal: control characters, which could move its cursor or turn the line, by their numbers."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


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
    from unifeat.pipeline.value_command import arguments as value_arguments

    parser = argparse.ArgumentParser(prog="unifeat", description=__doc__)
    adding = parser.add_subparsers(dest="command", required=True)

    def add(name, func, help_):
        command = adding.add_parser(name, help=help_)
        command.set_defaults(func=func)
        return command

    tracking.arguments(add("track", tracking.track, tracking.HELP))
    run = add("figures", commands.figures, "execute the notebooks in order and regenerate every figure")
    run.add_argument("--from", dest="start", default="", metavar="NN", help="first notebook to run")
    more = add("controls", commands.controls, "execute the notebook of controls, which trains SAEs of its own")
    further = add("studies", commands.studies, "execute the notebooks of studies, which train models of their own")
    further.add_argument("--only", default="", metavar="NN", help="the number of one study")
    out = add("export", commands.export, "a finished run's model or its SAEs, in another library's layout")
    page = add("explorer", commands.explorer, "write the offline page of all features, and nothing else")
    cost = add("estimate", commands.estimate, "time, memory and disk of a run that trains everything")
    for command in (run, more, further, out, page, cost):
        command.add_argument("--lineage", default="laptop", help="smoke, laptop (default), paper, released, or a "
                                                                 ".toml file")
        command.add_argument("--corpora", default="", help="embedded, hub, files, or a folder of yours")
    for command in (run, out, page):
        command.add_argument("--models", default="", help="given models: name=folder,name=folder,...")
        command.add_argument("--hook", default="", help="where the SAEs read, such as blocks.0.hook_mlp_out")
    clean = add("strip", commands.strip, "copy executed notebooks over notebooks/, fit to commit")
    clean.add_argument("--lineage", default="laptop", help="whose executed notebooks (default: laptop)")
    add("verify", commands.verify, "read every byte of the store and name what is damaged")
    gc = add("gc", commands.gc, "list what no recent run asked the store for")
    gc.add_argument("--apply", action="store_true", help="and remove it")
    out.add_argument("--model", required=True, help="which of the run's models")
    out.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new folder")
    out.add_argument("--format", default="huggingface", choices=("huggingface", "saelens", "dictionary_learning"),
                     help="the model itself (huggingface, default), or its SAEs in one of the two layouts")
    out.add_argument("--base-model", action="append", default=[], metavar="NAME", help="hub name the card links to")
    mix = add("merge", commands.merge,
              "merge models as a mergekit file says (linear, slerp, task_arithmetic, ties, dare_linear)")
    mix.add_argument("recipe", type=Path, help="mergekit's YAML")
    mix.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new folder")
    value_arguments(adding.add_parser("value", help="fine-tuning in logit space: train a value network, or apply one"))
    up = add("push", commands.push, "upload an exported folder to the Hugging Face hub, privately")
    up.add_argument("folder", type=Path)
    up.add_argument("repo_id", help="owner/name on the hub")
    up.add_argument("--public", action="store_true", help="a new repository is visible to everyone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
