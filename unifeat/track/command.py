"""`unifeat track A B --text FOLDER`: what it takes, what it writes, how it ends."""

import argparse
import json
import math
import os
import re
import time
import warnings
from pathlib import Path

from unifeat.support import paths, store
from unifeat.support.errors import reason
from unifeat.track.inputs import Thing, TrackError, both, slug

HELP = "compare the features of two models, or of two SAEs: one page and a JSON card"
ABOUT = """Which features of B were in A already, and which of A's survive in B? A and B are two models (a folder in
Hugging Face layout, or owner/name on the hub) or two folders with an SAE (unifeat's, SAELens's or dictionary_learning's
layout). Exit status: 0 done, 2 bad input, 3 below --fail-under, 130 interrupted; the same command then goes on."""
FILES = ("index.html", "card.json")
BELOW = 3  # exit status of a share below --fail-under
FOR_SAES = ("model", "model_a", "model_b", "twin_a", "twin_b")


def arguments(command: argparse.ArgumentParser) -> None:
    """Add what `track` takes."""
    command.description = ABOUT
    add, hooks = command.add_argument, "blocks.N.mlp.hook_post, blocks.N.hook_mlp_out or blocks.N.hook_resid_post"
    add("a", metavar="A", help="the earlier model, or its SAE")
    add("b", metavar="B", help="the later one")
    add("--text", required=True, metavar="PATH",
        help="a file or folder of text (.txt, .md, .jsonl, .parquet); of a folder of folders each is a domain")
    add("--to", type=Path, metavar="FOLDER", help="where index.html and card.json go (default ./track-A-B)")
    add("--hook", default="", help=f"what the SAEs read: {hooks} (default: the first, in the middle layer)")
    add("--quick", action="store_true", help="seconds instead of minutes; the numbers mean little")
    add("--activations", type=_count, default=0, metavar="N", help="that each SAE sees (default: what fits minutes)")
    add("--fail-under", type=_share, metavar="SHARE", help="exit status 3 if fewer of B's features persist (0 to 1)")
    saes = command.add_argument_group("for two SAEs")
    saes.add_argument("--model", default="", help="the language model that both read")
    for side in "ab":
        saes.add_argument(f"--model-{side}", default="", metavar="MODEL", help=f"the one that {side.upper()} reads")
        saes.add_argument(f"--twin-{side}", default="", metavar="FOLDER",
                          help=f"an SAE as {side.upper()}, from another seed: it gives the ceiling")


def _count(text: str) -> int:
    if len(text) > 12 or not re.fullmatch("[0-9]+(_[0-9]+)*", text) or not 1000 <= int(text) < 10**10:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of activations; give one from 1000 on")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give a number from 0 to 1")
    return value


def track(options: argparse.Namespace) -> int:
    """Compare A with B, write page and card, and print the shares; gives the exit status.

    Raises:
        UnifeatError: something that was given and cannot be used, in one sentence.
    """
    began = time.perf_counter()
    a, b = both(options.a, options.b)
    _check(options, a)
    folder = destination(options.to, a, b)
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch is there: threads that wait soon sleep
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
    from unifeat.track import page  # with torch

    found, card = compared(options, a, b)
    if card["sides"]["both"]["share"] is None:
        raise TrackError("A or B has no feature that fires often enough on this text; give more of it, or text of the "
                         "kind that the models know.")
    store.write_text(folder / FILES[0], page.page(found, card))
    store.write_text(folder / FILES[1], json.dumps(card, indent=1, allow_nan=False) + "\n")
    print(told(card))
    print(f"{folder / FILES[0]} and {FILES[1]}, {time.perf_counter() - began:.0f} s.")
    share = card["sides"]["persist"]["share"]
    return BELOW if options.fail_under is not None and share < options.fail_under else 0


def compared(options: argparse.Namespace, a: Thing, b: Thing) -> tuple:
    """What was found, as `found.Found`, and the card of it."""
    from unifeat.track import card, models, runs, saes, text

    texts = text.gather(options.text, paths.store(), runs.profile(options.quick).corpora.max_bytes)
    if a.kind == "model":
        found = models.track(a, b, texts, options.quick, options.hook, options.activations)
    else:
        found = saes.track(a, b, texts, _models(options), (options.twin_a, options.twin_b), options.quick, options.hook)
    asked = {name: getattr(options, name) for name in ("a", "b", "text", "hook", "quick", "activations", *FOR_SAES)}
    return found, card.card(found, asked, texts.cut)


def destination(to: Path | None, a: Thing, b: Thing) -> Path:
    """The folder that page and card go to: a new or empty one, or that of an earlier track.

    Raises:
        TrackError: it is a file, holds anything else, or cannot be read.
    """
    folder = (to or Path(f"track-{slug(a.label)}-{slug(b.label)}")).expanduser()
    try:
        names = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        ours = not names or "unifeat.track/" in (folder / FILES[1]).read_text(encoding="utf-8")[:200]
    except FileNotFoundError:
        ours = False
    except (OSError, ValueError, RuntimeError) as error:
        raise TrackError(f"--to {folder} cannot be used ({reason(error)}); name another folder.") from error
    above = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not above.is_dir():
        raise TrackError(f"--to {folder} goes through a file ({above}); name a folder.")
    if not os.access(above, os.W_OK):
        raise TrackError(f"--to {folder} cannot be written to; name a folder of yours.")
    if names and (not ours or names - set(FILES)):
        raise TrackError(f"--to {folder} is not empty; name a new folder, so that nothing of yours is overwritten.")
    return folder


def _check(options: argparse.Namespace, a: Thing) -> None:
    """Refuse arguments that are for SAEs where models are given, and SAEs without their models."""
    extra = [f"--{name.replace('_', '-')}" for name in FOR_SAES if getattr(options, name)]
    if a.kind == "model" and extra:
        raise TrackError(f"{extra[0]} is for SAEs, and A and B are models; leave it out.")
    if a.kind == "sae" and options.activations:
        raise TrackError("--activations is for models, whose SAEs are trained here; A and B are SAEs, so leave it out.")
    if a.kind == "sae" and not all(_models(options)):
        raise TrackError("Two SAEs need the language model that they read; give it as --model, or both as --model-a "
                         "and --model-b.")


def _models(options: argparse.Namespace) -> tuple[str, str]:
    return options.model_a or options.model, options.model_b or options.model


def told(card: dict) -> str:
    """The card in three lines."""
    words = {"persist": f"{card['labels']['b']}: features that persist",
             "survive": f"{card['labels']['a']}: features that survive", "both": "geometric mean of both"}
    width, lines = max(map(len, words.values())), []
    for key, label in words.items():
        one = card["sides"][key]
        low, high = one["ci"]
        ceiling = "no ceiling: give a twin" if one["ceiling"] is None else f"ceiling {one['ceiling']:.1%}"
        excess = "" if one["excess"] is None else f", excess {one['excess']:.0%}"
        lines.append(f"{label:<{width}}  {one['share']:.1%} [{low:.1%}, {high:.1%}]; {ceiling}, null "
                     f"{one['nulls'][one['null']]:.1%} ({one['null']}){excess}")
    return "\n".join(lines)
