"""The merges of a lineage beside SLERP and lerp: each method with what it needs of the run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unifeat import lm
from unifeat.lineage.models import Models
from unifeat.lineage.settings import CHANGES, Merging
from unifeat.merging import estimates, evolver, zoo
from unifeat.support.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class Merges(Models):
    """The stages of merges of two models or more."""

    def _many(self, name, folder, bar):
        model = self.model(self.lineage.models[name].merge[0])
        model.load_state_dict(merged(self, name, folder))
        self._save(name, model, folder)


def merged(run, name: str, folder: Path | None = None) -> dict:
    """The state dict of the merge `name`; a killed evolver goes on from `folder`."""
    one = run.lineage.models[name]
    how, method = one.options or Merging(), getattr(zoo, one.method, None)
    states = [run.model(parent).state_dict() for parent in one.merge]
    weights = how.weights or None
    if one.method == "evolver":
        return evolved(run, name, folder).state
    if one.method == "linear":
        return method(states, weights)
    if one.method in CHANGES:
        more = {"ties": dict(density=how.density), "dare": dict(density=how.density, seed=how.seed)}.get(one.method, {})
        return method(run.model(run.lineage.base(name)).state_dict(), states, weights, scale=how.scale, **more)
    found = []
    for parent in one.merge:
        model, blocks = run.model(parent).to(lm.device()), own_text(run, parent, how.tokens)
        found.append(estimates.fisher(model, blocks, how.seed) if one.method == "fisher" else
                     estimates.grams(model, blocks))
    return method(states, found, weights) if one.method == "fisher" else method(states, found)


def evolved(run, name: str, folder: Path | None = None) -> evolver.Evolved:
    """The search of an evolver: its parents evolve by the negative macro loss on the development text."""
    one = run.lineage.models[name]
    how = one.options or Merging()
    model, dev = run.model(one.merge[0]).to(lm.device()), run.held_out("dev", how.tokens)
    return evolver.evolve([run.model(parent).state_dict() for parent in one.merge],
                          lambda state: -macro(model, state, dev),
                          evolver.Evolution(how.rule, how.f, how.cr, how.generations, how.seed),
                          saved=Checkpoint(folder))


def macro(model, state: dict, blocks: dict) -> float:
    """Loss (nats per token) of `state` in `model`, mean over the domains of `blocks` {domain: (n, context)}."""
    model.load_state_dict(state)
    return sum(lm.evaluate(model, rows)["loss_nats"] for rows in blocks.values()) / len(blocks)


def own_text(run, name: str, tokens: int):
    """Training blocks (n, context) of a model's own domains, so many tokens in all."""
    domains = run.lineage.mix(name)[0]
    return np.concatenate([run.blocks(domain, "train", tokens // len(domains)) for domain in domains])
