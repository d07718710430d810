"""The card of a track: every number of it as JSON, for scripts and for whoever reads the page twice."""

import math
import platform

import numpy as np
import pandas as pd
import scipy
import torch
import transformers

from unifeat import __version__, lm, matching
from unifeat.lineage import given
from unifeat.studies.shares import number
from unifeat.track import found as found_
from unifeat.track import pairs
from unifeat.track.found import Found
from unifeat.track.html import percent

SCHEMA = "unifeat.track/2"  # the number goes up when a key changes its meaning or goes
DRAWN = ("95 %, bootstrap over the documents of the comparison text, drawn with replacement within their domain; "
         "neither SAE seeds nor training runs of the language models are drawn")
LOW = 0.25  # a ceiling below which the SAEs say little


def card(found: Found, asked: dict, cut: tuple[str, ...] = ()) -> dict:
    """All numbers of a track; asked: what the user gave, by argument; cut: the domains whose documents were cut.

    sides: persist (of B's features, those found in A), survive (of A's, those found in B), both (their geometric mean).
    """
    p = found.runs[0].lineage.comparison
    curves = {name: found_.curves(found, side) for name, side in (("persist", "b"), ("survive", "a"))}
    curves["both"] = found_.geometric(curves["survive"], curves["persist"])
    sides = {name: found_.stated(one, number(p.tau)) for name, one in curves.items()}
    for name, side in (("persist", "b"), ("survive", "a")):
        sides[name] |= _more(found, side, p.tau)
    lost = {name: pairs.unmatched(found, side, p.tau) for name, side in (("emerged", "b"), ("vanished", "a"))}
    return _plain(dict(
        schema=SCHEMA, kind=found.kind, labels=dict(a=found.labels[0], b=found.labels[1]), asked=asked, tau=p.tau,
        rule=found_.RULE, intervals=DRAWN, sides=sides, warnings=_warnings(found, sides, asked.get("quick"), cut),
        curve=dict(tau=matching.TAUS.tolist()) | {name: found_.bands(one) for name, one in curves.items()},
        pairs=_columns(pairs.pairs(found)),
        **{name: _lost(frame, p.tau) for name, frame in lost.items()}, run=_run(found)))


def _more(found: Found, side: str, tau: float) -> dict:
    """A side's features, its share under the other rules, and that of each pair of SAEs."""
    column, at = found_.SIDES[side], number(tau)

    def shares(rule):
        return [float(one.table[f"observed.{rule}.{column}"][at]) for one in found.pairs]

    live = [len(one.live_a if side == "a" else one.live_b) for one in found.pairs]
    return dict(features=float(np.mean(live)), each_pair=shares(found_.RULE),
                best=float(np.mean(shares("best"))), mutual=float(np.mean(shares("mutual"))))


def _lost(frame: pd.DataFrame, tau: float) -> dict:
    """Features that emerged or vanished, how many there are, and how many of them a twin of their SAE has too."""
    again = int((frame["twin"] >= tau).sum()) if frame["twin"].notna().any() else None
    return dict(count=len(frame), found_by_twin=again) | _columns(frame)


def _columns(frame: pd.DataFrame) -> dict:
    """A table as {column: values}, correlations to 4 digits."""
    return {name: [round(float(value), 4) if frame[name].dtype.kind == "f" else int(value) for value in frame[name]]
            for name in frame.columns}


def _warnings(found: Found, sides: dict, quick: bool, cut: tuple[str, ...]) -> list[str]:
    """What a reader should know before believing a number."""
    out = list(found.doubts)
    if quick:
        out.append("Made with --quick: SAEs this small and short agree on little, so these numbers mean little.")
    ceilings = {owner: sides[name]["ceiling"] for name, owner in (("survive", "A"), ("persist", "B"))}
    if without := [owner for owner, ceiling in ceilings.items() if ceiling is None]:
        options = " and ".join(f"--twin-{owner.lower()}" for owner in without)
        out.append(f"No ceiling for {' and '.join(without)}: give a twin, an SAE of the same model from another seed "
                   f"({options}).")
    if low := [f"{percent(ceiling)} of the features of {owner}" for owner, ceiling in ceilings.items()
               if ceiling is not None and ceiling < LOW]:
        longer = " (--activations)" if found.kind == "model" else ""
        out.append(f"Two SAEs of one model agree on {' and '.join(low)} only, so the shares say little; SAEs that are "
                   f"trained longer{longer} agree on more.")
    if cut:
        out.append(f"Long documents of {', '.join(cut)} were cut into pieces that count as documents; pieces of one "
                   "text resemble each other, so the intervals are too narrow.")
    return out


def _run(found: Found) -> dict:
    """What the track was run on: text, models, SAEs, versions, and the seconds that each part took when it was made."""
    run, text, seconds = found.runs[0], found.runs[0].comparison_text, {}
    for one in found.runs:
        for name, value in one.seconds.items():
            seconds[name if seconds.get(name, value) == value else f"{name} (B)"] = round(value, 3)
    return dict(
        text=_text(run), context=run.corpus.context, compared_tokens=len(text["block"]),
        compared_documents=len(np.unique(text["document"])), min_fires=run.lineage.comparison.min_fires,
        models={side: dict(name=name, label=one.lineage.models[name].label, folder=str(one.given[name]),
                           sha256=given.fingerprint(one.given[name])) for side, (one, name) in _models(found).items()},
        saes=found.saes, measured=found.measured,
        versions=dict(unifeat=__version__, python=platform.python_version(), torch=torch.__version__,
                      transformers=transformers.__version__, numpy=np.__version__, scipy=scipy.__version__),
        machine=platform.machine(), device=lm.device().type, dtype=str(lm.compute_dtype()).removeprefix("torch."),
        seconds=dict(sorted(seconds.items())), seconds_total=round(sum(seconds.values()), 1))


def _models(found: Found) -> dict:
    """The run of each side's model and its name there."""
    one, other = found.runs[0], found.runs[-1]
    return {"a": (one, one.lineage.names[0]), "b": (other, other.lineage.names[-1])}


def _text(run) -> dict:
    """Documents, bytes and tokens of each domain's splits."""
    out = {name: dict(label=run.lineage.text[name].label) for name in run.lineage.domains}
    for row in run.corpus.rows:
        out[row["domain"]][row["split"]] = {key: row[key] for key in ("documents", "bytes", "tokens")}
    return out


def _plain(value):
    """The value with None for what is no number, which JSON has no word for."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
