"""Two SAEs compared, of one model or of two: their features on the same text, with the ceiling their twins give."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from unifeat.matching.comparison import Comparison
from unifeat.sae import Sae, features, folders
from unifeat.studies import baselines
from unifeat.support import parallel, store
from unifeat.track import estimate, sae_inputs
from unifeat.track.found import Found
from unifeat.track.html import percent
from unifeat.track.inputs import Thing
from unifeat.track.runs import TrackRun, start
from unifeat.track.text import Texts

ROWS = 2048  # activations decoded at once
DOUBTFUL = 0.5  # share of the variance left unexplained above which an SAE is said to be in the wrong place


@dataclass(frozen=True, eq=False)
class Side:
    """One side's SAEs (its own and, where there is one, its twin) and the run of the model that they read."""

    run: TrackRun
    saes: dict[str, Sae]  # own, twin
    folders: dict[str, Path]

    @property
    def model(self) -> str:
        """The model's name in the run."""
        return self.run.lineage.names[0]

    @cached_property
    def activations(self) -> torch.Tensor:
        """What the SAEs read, (tokens, d): computed once, and only if the store lacks something made from it."""
        return features.text_activations(self.run.model(self.model), self.run.comparison_text["blocks"],
                                         self.run.lineage.sae.hook)

    def stage(self, name: str):
        """The result that holds the latents of an SAE (`name`: own, twin, or rotated) on the comparison text."""
        which = "twin" if name == "twin" else "own"
        one, seed = self.saes[which], self.run.lineage.comparison.seed

        def build(folder):
            x = baselines.rotate(self.activations, seed) if name == "rotated" else self.activations
            f = features.encode(one, x)
            sparse.save_npz(folder / "features.npz", f, compressed=False)
            (folder / "quality.json").write_text(json.dumps(quality(one, x, f)), encoding="utf-8")

        config = [hashes(self.folders[which]), one.hook, self.run.lineage.comparison.tokens, name == "rotated" and seed]
        inputs = [self.run.corpus_stage, self.run.model_stage(self.model)]
        return self.run.stage(f"given-sae-{name}", build, config, inputs, code_of=(baselines.rotate,))

    def latents(self, name: str) -> sparse.csr_matrix:
        """Latents (tokens, width)."""
        return sparse.load_npz(self.stage(name).folder / "features.npz")

    def live(self, name: str) -> np.ndarray:
        """Features that fire on at least min_fires tokens."""
        return np.flatnonzero(features.fires(self.latents(name)) >= self.run.lineage.comparison.min_fires)


def quality(one: Sae, x: torch.Tensor, f: sparse.csr_matrix) -> dict:
    """L0 and FVU = sum ||x - x_hat||^2 / sum ||x - mean x||^2 of an SAE on activations x (tokens, d)."""
    one, error, spread, mean = one.to(x.device), 0.0, 0.0, x.float().mean(0)
    for first in range(0, len(x), ROWS):
        rows, latents = x[first:first + ROWS].float(), torch.from_numpy(f[first:first + ROWS].toarray())
        error += (rows - one.decode(latents.to(x.device))).square().sum(dtype=torch.float64).item()
        spread += (rows - mean).square().sum(dtype=torch.float64).item()
    return dict(l0=f.nnz / max(1, len(x)), fvu=error / spread if spread else None)


def hashes(folder: Path) -> dict[str, str]:
    """Hashes of the files that make the SAE in `folder`."""
    return {name: store.sha256(folder / name) for name in folders.FILES[folders.layout(folder)]}


def track(a: Thing, b: Thing, text: Texts, models: tuple[str, str], twins: tuple[str, str] = ("", ""),
          quick: bool = False, hook: str = "") -> Found:
    """Which features the SAEs A and B share on the same text.

    models: those that A and B read (folder or hub name); twins: SAEs of the same models trained from other seeds, ""
    for none; hook: the hook point of SAEs whose files do not name it.

    Raises:
        UnifeatError: SAEs or models that cannot be read, do not belong together, or too little text.
    """
    read = {role: sae_inputs.read(role, thing.where, twin, hook)
            for role, thing, twin in zip("AB", (a, b), twins, strict=True)}
    context = sae_inputs.common_context(models)
    left, right = (_side(role, *read[role], model, text, quick, context)
                   for role, model in zip("AB", models, strict=True))
    saes = [one for side in (left, right) for one in side.saes.values()]
    print(estimate.of_saes((left.run, right.run), saes, len(saes)), flush=True)
    n = len(left.run.comparison_text["block"])
    calls = [(side, name) for side in (left, right) for name in side.saes] + [(right, "rotated")]
    parallel.side_by_side(lambda call, bar: (call[0].stage(call[1]), bar.update(n)), calls, n * len(calls),
                          "features of A and B", 1)
    return _found((a, b), left, right)


def _side(role: str, saes, places, model: str, text: Texts, quick: bool, context: int) -> Side:
    run = start({f"of {role}": (model, Path(model).name)}, text, quick, saes["own"].hook, context)
    sae_inputs.check_model(role, saes, places, model, run)
    return Side(run, saes, places)


def _found(things, left: Side, right: Side) -> Found:
    own = _compare(left, "own", right, "own", True)
    rotated = _compare(left, "own", right, "rotated")
    same = {side: _compare(one, "own", one, "twin") if "twin" in one.saes else None
            for side, one in (("a", left), ("b", right))}
    pair = Comparison(("A", 0), ("B", 0), left.live("own"), right.live("own"), own)
    saes = [_facts(role, side, name) for role, side in (("A", left), ("B", right)) for name in side.saes]
    return Found("sae", tuple(thing.label for thing in things), (left.run, right.run), [pair],
                 {side: [(table, "parent")] if table else [] for side, table in same.items()},
                 {"rotated": {"a": [(rotated, "parent")], "b": [(rotated, "child")]}},
                 (left.latents("own"), right.latents("own")),
                 {side: table["r_of_a"] if table else None for side, table in same.items()},
                 saes, "on the comparison text", tuple(_doubts(saes)))


def _compare(left: Side, one: str, right: Side, other: str, with_null: bool = False) -> dict:
    def sides():
        return [side.latents(name)[:, side.live(name)] for side, name in ((left, one), (right, other))]

    return baselines.kept(left.run, f"given-match-{one}-{other}", sides, [left.stage(one), right.stage(other)],
                          with_null=with_null)


def _facts(role: str, side: Side, name: str) -> dict:
    one, made = side.saes[name], side.stage(name)
    found = json.loads((made.folder / "quality.json").read_text(encoding="utf-8"))
    return dict(model=side.model, of=f"{role}{' (twin)' * (name == 'twin')}", layout=folders.layout(side.folders[name]),
                folder=str(side.folders[name]), sha256=hashes(side.folders[name]), seed=one.seed, kind=one.kind,
                width=one.width, k=one.k, hook=one.hook, lm_hash=one.lm_hash, live=len(side.live(name)), **found)


def _doubts(saes: list[dict]) -> list[str]:
    return [f"The SAE {one['of']} leaves {percent(one['fvu'])} of the variance of {one['hook']} unexplained; it may "
            "have been trained on another model or hook point, or on activations that were normalised."
            for one in saes if one["fvu"] is not None and one["fvu"] > DOUBTFUL]
