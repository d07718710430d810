"""Evolver: models merged by evolution of their weights (Du et al. 2024, arXiv 2406.12208), as stated and as released.

A population of models is mutated, crossed over and kept where a fitness on development text rises. The fitness is all
that the search sees: what is to be reported is measured once, afterwards, on other text. (The released code returns the
population with the best *test* score that it met.)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from unifeat.support.checkpoint import Checkpoint
from unifeat.support.errors import UnifeatError

RULES = ("paper", "code")


class EvolverError(UnifeatError):
    """Settings, models or a fitness with which no evolution can go on."""


@dataclass(frozen=True)
class Evolution:
    """How a population evolves.

    rule: `paper`, v = theta_i + f (theta_r1 - theta_r2) with two random others, a whole generation at a time; `code`,
    v = (1 - f) theta_i + f theta_r, one member after the other: r is a random other with probability
    0.5 / (T - t) + 0.5, else the best other. cr: each weight comes from v with this probability, else from theta_i.
    expected: the mask's mean in its place, u = theta_i + cr (v - theta_i): is the randomness worth anything?
    """

    rule: str = "paper"
    f: float = 0.5
    cr: float = 0.5
    generations: int = 15
    seed: int = 0
    expected: bool = False

    def __post_init__(self):
        for fine, what in ((self.rule in RULES, f"rule is {self.rule!r}; choose one of {', '.join(RULES)}"),
                           (0 <= self.f <= 1, f"f is {self.f}; choose a number from 0 to 1"),
                           (0 <= self.cr <= 1, f"cr is {self.cr}; choose a number from 0 to 1"),
                           (self.generations >= 1, f"generations is {self.generations}; choose 1 or more")):
            if not fine:
                raise EvolverError(f"Evolution: {what}.")


@dataclass(frozen=True)
class Evolved:
    """What an evolution ends with: the fittest state dict, its score, and log rows (generation, member, score)."""

    state: dict
    score: float
    log: list[dict]


def evolve(states: Sequence[dict], fitness: Callable[[dict], float], how: Evolution = Evolution(),
           merger: Callable[[list[dict]], dict] | None = None, saved: Checkpoint | None = None,
           watch: Callable[[int, dict], None] | None = None) -> Evolved:
    """The fittest model of a population that starts from `states` and evolves by `fitness`: higher is better.

    merger: one model of the whole population, as `zoo.linear`; the fitness is then of that, a member is replaced where
    it rises, members in random order, and what is returned is the merged model. saved: where a killed search goes on.
    watch: called with every generation's number and fittest model, to look at later; its answer is not seen.
    Every offspring costs one call of `fitness`, and every member (without merger) one before the first generation.

    Raises:
        EvolverError: fewer than two models (three by the paper's rule), models that do not fit together, or a fitness
            that is NaN.
    """
    flat = _Flat(states)
    if len(states) < (least := 3 if how.rule == "paper" else 2):
        raise EvolverError(f"The {how.rule} rule needs {least} models or more, and here are {len(states)}.")
    search = _Search(flat, fitness, how, merger)
    search.restore(saved)
    with tqdm(total=how.generations, initial=search.generation, desc="evolution", unit="gen", delay=5) as bar:
        while search.generation < how.generations:
            search.step()
            if watch:
                watch(search.generation, search.result())
            bar.set_postfix(best_dev=f"{search.best:.4f}")
            bar.update()
            if saved is not None and saved.due():
                search.save(saved)
    return Evolved(search.result(), search.best, search.log)


class _Flat:
    """State dicts of one architecture as rows of one float32 matrix; tied tensors once, what is no float aside."""

    def __init__(self, states):
        first, seen = states[0], {}
        self.first, self.names, self.tied = first, [], {}
        for name, value in first.items():
            place = (value.data_ptr(), value.shape)
            if not value.is_floating_point():
                continue
            if place in seen:
                self.tied[name] = seen[place]
            else:
                seen[place] = name
                self.names.append(name)
        for state in states[1:]:
            odd = sorted(first.keys() ^ state.keys()) or [
                name for name in first if first[name].shape != state[name].shape]
            if odd:
                raise EvolverError(f"The models differ in {odd[0]}; evolve models of one architecture and vocabulary.")
        self.rows = torch.stack([torch.cat([state[name].flatten().float() for name in self.names])
                                 for state in states])
        if not torch.isfinite(self.rows).all():
            raise EvolverError("A model holds NaN or infinity; such a model cannot evolve.")

    def state(self, row: torch.Tensor) -> dict:
        """A row as a state dict in the first model's dtypes."""
        out, start = dict(self.first), 0
        for name in self.names:
            like = self.first[name]
            out[name] = row[start:start + like.numel()].view(like.shape).to(like.dtype, copy=True)
            start += like.numel()
        return out | {name: out[first] for name, first in self.tied.items()}


class _Search:
    """The state of a search: population (members, weights), scores, random numbers, log."""

    def __init__(self, flat: _Flat, fitness, how: Evolution, merger):
        self.flat, self.fitness, self.how, self.merger = flat, fitness, how, merger
        self.rows, self.generation, self.log = flat.rows.clone(), 0, []
        self.generator, self.scores = torch.Generator().manual_seed(how.seed), []

    def step(self) -> None:
        """One generation."""
        if not self.scores:
            self.scores = ([self.score(self.merged())] if self.merger else
                           [self.score(self.flat.state(row)) for row in self.rows])
            self.note()
        if self.merger:
            for i in torch.randperm(len(self.rows), generator=self.generator).tolist():
                self.challenge(i, self.offspring(i))
        elif self.how.rule == "paper":  # all from the same population, and then all at once
            for i, row in enumerate([self.offspring(i) for i in range(len(self.rows))]):
                self.challenge(i, row)
        else:
            for i in range(len(self.rows)):
                self.challenge(i, self.offspring(i))
        self.generation += 1
        self.note()

    def offspring(self, i: int) -> torch.Tensor:
        """Mutation and crossover of member i."""
        how, others = self.how, [j for j in range(len(self.rows)) if j != i]
        if how.rule == "paper":
            a, b = (others[j] for j in torch.randperm(len(others), generator=self.generator)[:2].tolist())
            change = how.f * (self.rows[a] - self.rows[b])
        else:
            chance = 1.0 if self.merger else 0.5 / (how.generations - self.generation) + 0.5
            pick = others[int(torch.randint(len(others), (), generator=self.generator))]
            if torch.rand((), generator=self.generator) >= chance:
                pick = max(others, key=lambda j: self.scores[j])
            change = how.f * (self.rows[pick] - self.rows[i])
        if how.expected:
            return self.rows[i] + how.cr * change
        mask = torch.rand(self.rows.shape[1], generator=self.generator) < how.cr
        return torch.where(mask, self.rows[i] + change, self.rows[i])

    def challenge(self, i: int, row: torch.Tensor) -> None:
        """Member i becomes `row` if that is fitter."""
        before, at = self.rows[i].clone(), 0 if self.merger else i
        self.rows[i] = row
        score = self.score(self.merged() if self.merger else self.flat.state(row))
        if score > self.scores[at]:
            self.scores[at] = score
        else:
            self.rows[i] = before

    def score(self, state: dict) -> float:
        """The fitness of a model."""
        found = float(self.fitness(state))
        if math.isnan(found):
            raise EvolverError("The fitness of a model is NaN; give one that ranks every model (-inf for the worst).")
        return found

    def merged(self) -> dict:
        """The merger's model of the population."""
        return self.merger([self.flat.state(row) for row in self.rows])

    def result(self) -> dict:
        """The fittest model."""
        return self.merged() if self.merger else self.flat.state(self.rows[max(range(len(self.rows)),
                                                                               key=self.scores.__getitem__)])

    @property
    def best(self) -> float:
        return max(self.scores)

    def note(self) -> None:
        """Rows of the log for this generation."""
        self.log += [dict(generation=self.generation, member=i, score=score) for i, score in enumerate(self.scores)]

    def save(self, saved: Checkpoint) -> None:
        saved.save(dict(rows=self.rows, random=self.generator.get_state()),
                   dict(generation=self.generation, scores=self.scores, log=self.log))

    def restore(self, saved: Checkpoint | None) -> None:
        """Go on where a killed search was saved, if it was."""
        if saved is not None and (found := saved.load()) is not None:
            tensors, state = found
            self.rows = tensors["rows"]
            self.generator.set_state(tensors["random"])
            self.generation, self.scores, self.log = state["generation"], state["scores"], state["log"]
