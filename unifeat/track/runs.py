"""A track's runs: a lineage of the models that were given, its text, and sizes that fit both and this machine.

Results are named by a model's content and not by its place as A or B, so that a chain A B, B C, ... does each once.
"""

import contextlib
import dataclasses
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from unifeat import lm
from unifeat.lineage import given, read
from unifeat.lineage.checks import check
from unifeat.lineage.lineage import Lineage
from unifeat.lineage.run import Run
from unifeat.lineage.settings import Member, Sae, Text
from unifeat.support import paths, store
from unifeat.text.files import CorpusError
from unifeat.track.inputs import HUB, TrackError, slug
from unifeat.track.text import Texts

LEAST = 200  # held-out tokens per firing that a feature needs to be live
DOCUMENTS = 5  # held out, at least: their resamples make the intervals
WIDTH = 1024  # features, for which the profile's learning rate is meant
EPOCHS = 4  # times that a short text is read
MEMORY = 2**28  # bytes of activations held for one SAE trainer
# What bounds the activations of large models; seconds of one core per activation, measured on an EPYC with AVX512-BF16.
SECONDS = 1500  # of all SAEs together
FORWARD = 3e-11  # per weight that a token passes
STEP, PRODUCT = 7e-5, 6e-11  # per SAE, and per number of its encoder


class _Done(Exception):
    """The activation was read; what comes after it is not needed."""


@dataclass(frozen=True, eq=False)
class TrackRun(Run):
    """A run whose models stop behind the hook point: what follows would be computed for nothing."""

    def model(self, name: str):
        """A fresh copy of a model; its weights are whole, and its activations up to the hook point are its own."""
        return stopping(super().model(name), self.lineage.sae.hook)

    def untrained(self, seed: int | None = None):
        """A model of the lineage's architecture and sizes with random weights."""
        return stopping(super().untrained(seed), self.lineage.sae.hook)


def stopping(model, hook: str):
    """The model, whose forward pass ends where the block after `hook` would begin, and then gives None."""
    blocks, number = lm.layers(model), int(hook.split(".")[1])
    if number + 1 == len(blocks):
        return model

    def end(*_):
        raise _Done

    blocks[number + 1].register_forward_pre_hook(end)
    forward = model.base_model.forward

    def stopped(*args, **options):
        with contextlib.suppress(_Done):
            forward(*args, **options)

    model.base_model.forward = stopped
    return model


def profile(quick: bool) -> Lineage:
    """The sizes of a track: profiles/track.toml, or track_quick.toml."""
    return read("track_quick" if quick else "track")


def start(models: dict[str, tuple[str, str]], text: Texts, quick: bool, hook: str = "", context: int = 0,
          activations: int = 0) -> TrackRun:
    """A run of the given models, the first the parent of the second, on `text`.

    models: {role: (folder or hub name, label)}; hook: "" for the MLP of the middle layer; context: tokens per block at
    most, 0 for the profile's; activations: that each SAE sees, 0 for as many as fit. Text and models are ready.

    Raises:
        ModelsError, ModelError: models that cannot be read or do not belong together, or have no such hook point.
        TrackError: there is too little text.
    """
    p = profile(quick)
    p = replace(p, shipped=False, text={name: Text(label=text.labels[name], source="files", path=str(path))
                                        for name, path in text.paths.items()})
    if context:
        p = replace(p, corpora=replace(p.corpora, context=min(context, p.corpora.context)))
    folders = model_folders({role: where for role, (where, _) in models.items()})
    names = named({role: (folders[role], label) for role, (_, label) in models.items()})
    members, parent = {}, ""
    for role, (_, label) in models.items():
        members[names[role]] = Member(given=str(folders[role]), parent=parent, label=label)
        parent = parent or names[role]
    hook = hook or f"blocks.{lm.describe(given.skeleton(next(iter(folders.values()))))['layers'] // 2}.mlp.hook_post"
    p = replace(p, models=members, sae=replace(p.sae, hook=hook))
    check(p)
    found = {names[role]: folder for role, folder in folders.items()}
    run = TrackRun(given.fit(p, found), paths.store(), Path(), given=found)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its lines on documents and bytes
            run.corpus_stage  # noqa: B018
    except CorpusError as error:  # the files were read before this: what is wrong is how much is left of them
        needed = 4 * LEAST * p.comparison.min_fires / p.corpora.validation_share
        raise TrackError(f"--text {text.where} is too short: a domain of it has no two documents of at least 200 bytes "
                         f"that differ; give at least {needed / 1e3:,.0f} kB of text.") from error
    run = fitted(run, text, activations)
    for name in tqdm(run.lineage.names, desc="models", delay=3, leave=False):  # large ones take a while to check
        run.model_stage(name)
    return run


def model_folders(models: dict[str, str]) -> dict[str, Path]:
    """Folders of models that are given as folders or by their names on the hub, by role; whole, and of one family.

    Raises:
        ModelsError: a missing folder or file, no network, other architecture, sizes or tokenizer than the first's.
    """
    members = {}
    for role, where in models.items():
        path = Path(where).expanduser()
        members[role] = Member(given=where if HUB.fullmatch(where) and not path.exists() else str(path.resolve()))
    return given.folders(replace(profile(True), models=members), paths.downloads())


def named(folders: dict[str, tuple[Path, str]]) -> dict[str, str]:
    """A name by content for each of {role: (folder, label)}; equal models get different ones all the same."""
    names = {}
    for role, (folder, label) in folders.items():
        name = f"{slug(label.split('/')[-1], 20)}-{store.digest(given.fingerprint(folder))[:8]}"
        names[role] = name if name not in names.values() else f"{name}-again"
    return names


def fitted(run: TrackRun, text: Texts, activations: int = 0) -> TrackRun:
    """The run with as many tokens to compare features on as the text has, at most the profile's.

    Raises:
        TrackError: too little text.
    """
    p, corpus = run.lineage, run.corpus
    have = {d: corpus.blocks(d, "validation").size for d in p.domains}
    scarce = min(have, key=have.get)
    tokens, least = min(p.comparison.tokens // len(have), have[scarce]), LEAST * p.comparison.min_fires // len(have)
    documents = sum(row["documents"] for row in corpus.rows if row["split"] == "validation")
    if tokens < least or documents < DOCUMENTS:
        factor = max(least / max(1, tokens), DOCUMENTS / max(1, documents))
        raise TrackError(
            f"--text {text.where} is too short: {corpus.blocks(scarce, 'validation').size:,} tokens of "
            f"{text.labels[scarce]} in {documents} documents are held out to compare features on, and {least:,} in "
            f"{DOCUMENTS} are needed; give at least {max(1.2 * factor, 2) * text.bytes / 1e3:,.0f} kB of text.")
    tokens -= tokens % p.corpora.context
    p = replace(p, comparison=replace(p.comparison, tokens=tokens), sae=sizes(run, activations))
    return dataclasses.replace(run, lineage=p)


def sizes(run: TrackRun, activations: int = 0) -> Sae:
    """The SAEs' settings, within the profile's limits: width by the activations', tokens by the text and the model.

    The learning rate goes with 1 / sqrt(width), after figure 3 of Gao et al. 2024 (arXiv 2406.04093): at the rate that
    is best for 1,024 features, half of 3,072 die.
    """
    p, facts = run.lineage, run.lineage.model
    sae, d = p.sae, activation_width(p)
    width = min(sae.width, 2 * d)
    have = sum(run.corpus.blocks(name, "train").size for name in p.domains)
    weights = (int(sae.hook.split(".")[1]) + 1) * facts.d_model * (4 * facts.d_model + 3 * facts.d_mlp)
    cost = 3 * weights * FORWARD + 5 * (STEP + d * width * PRODUCT)  # of both models and an untrained one
    fits = min(sae.tokens, max(int(SECONDS / cost), sae.tokens // 5), EPOCHS * have)
    tokens = max(sae.batch, activations or fits)
    buffer = max(4 * sae.batch, min(sae.buffer, MEMORY // (4 * d)))
    k = max(1, min(sae.k, width // 8))
    return replace(sae, width=width, k=k, k_first=max(k, min(sae.k_first, width)), tokens=tokens, buffer=buffer,
                   lr=sae.lr * (WIDTH / width) ** 0.5, dead_after=min(sae.dead_after, tokens // 4))


def activation_width(p: Lineage) -> int:
    """Numbers per token at the lineage's hook point."""
    return p.model.d_mlp if p.sae.hook.endswith(".mlp.hook_post") else p.model.d_model
