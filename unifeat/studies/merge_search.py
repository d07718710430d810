"""Merging as a search by development text: Evolver and its peers on one budget of evaluations (notebook 14).

The population is a root, two of its children and their SLERP midpoint. Every method ranks models by the macro loss on
the development half of the held-out text; what is reported is the loss on the test half, measured once at the end.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from cmaes import CMA
from tqdm import tqdm

from unifeat import lm, merging
from unifeat.lineage.merges import macro, own_text
from unifeat.lineage.run import Run
from unifeat.merging import estimates, evolver, zoo
from unifeat.merging.evolver import Evolution
from unifeat.studies import variants
from unifeat.support import tables

RATES = (0.2, 0.5, 0.8), (0.1, 0.5, 0.9)  # f, cr of the map
COLUMNS = ["model_seed", "method", "evaluations", "split", "domain", "loss_nats"]
EVOLUTION = ["model_seed", "method", "generation", "member", "dev", "test"]
MAP = ["rule", "f", "cr", "dev", "test"]
MARGIN = 0.01  # nats that Evolver is to gain on the best simple model


@dataclass
class Fitness:
    """The negative macro loss (nats per token) of a state dict on development text; it counts its calls."""

    model: object
    blocks: dict
    calls: int = 0

    def __call__(self, state: dict) -> float:
        self.calls += 1
        return -macro(self.model, state, self.blocks)


@dataclass(frozen=True)
class Pool:
    """What a method may use: the state dicts of root, children and midpoint, and facts of all four for the mergers."""

    root: dict
    a: dict
    b: dict
    middle: dict
    budget: int = 64  # evaluations that a method may ask for
    fishers: list = field(default_factory=list)
    grams: list = field(default_factory=list)

    @property
    def members(self) -> list[dict]:
        return [self.root, self.a, self.b, self.middle]

    @property
    def generations(self) -> int:
        """Of an evolution of the four: it also ranks them once before the first."""
        return self.budget // 4 - 1


def family(run: Run) -> tuple[str, str, str] | None:
    """The first merge's two parents behind the root that both come from; None where the lineage has no such merge."""
    for one in run.lineage.models.values():
        if one.merge and one.ends and (root := _above(run, one.merge)):
            return root, *one.merge
    return None


def _above(run: Run, names) -> str:
    above = [set(run.lineage.models[name].origins) for name in names]
    return min(set.intersection(*above), default="")


# The methods: (pool, fitness, random numbers) -> state dict ---------------------------------------------------------


def best_single(pool: Pool, fitness, rng) -> dict:
    """The fittest of root and children."""
    return max(pool.members[:3], key=fitness)


def slerp_grid(pool: Pool, fitness, rng) -> dict:
    """SLERP of the children at the fittest of equally spaced t, as many as the budget allows."""
    values = np.linspace(0, 1, pool.budget)
    scores = [fitness(merging.between(merging.slerp, pool.a, pool.b, float(t))) for t in values]
    return merging.between(merging.slerp, pool.a, pool.b, float(values[int(np.argmax(scores))]))


def simplex_grid(pool: Pool, fitness, rng) -> dict:
    """The fittest weighted mean of root and children on the finest regular grid of weights that the budget allows."""
    steps = int((np.sqrt(8 * pool.budget + 1) - 3) / 2)  # (steps + 1)(steps + 2) / 2 points
    grid = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    scores = [fitness(zoo.linear(pool.members[:3], weights)) for weights in grid]
    return zoo.linear(pool.members[:3], grid[int(np.argmax(scores))])


def greedy_soup(pool: Pool, fitness, rng) -> dict:
    """Members from the fittest on, each kept in the mean where the mean is then no worse (Wortsman et al. 2022,
    arXiv 2203.05482, recipe 1)."""
    ranked = sorted(((fitness(state), n) for n, state in enumerate(pool.members)), reverse=True)
    soup, score = [pool.members[ranked[0][1]]], ranked[0][0]
    for _, n in ranked[1:]:
        found = fitness(zoo.linear([*soup, pool.members[n]]))
        if found >= score:
            soup, score = [*soup, pool.members[n]], found
    return zoo.linear(soup) if len(soup) > 1 else soup[0]


def cma(pool: Pool, fitness, rng) -> dict:
    """Task arithmetic with a weight per child and part of the model (`part`), by CMA-ES (Hansen 2016, arXiv 1604.00772)
    through the package cmaes, as mergekit-evolve searches. It starts from the mean of the children."""
    parts = sorted({part(name) for name in pool.root})
    size = min(pool.budget, 4 + int(3 * np.log(2 * len(parts))))  # the default, where the budget allows
    search = CMA(np.full(2 * len(parts), 0.5), 0.2, population_size=size, seed=int(rng.integers(2**31)))
    best, state = -np.inf, None
    for _ in range(pool.budget // size):
        told = []
        for weights in (search.ask() for _ in range(search.population_size)):
            made = by_part(pool, dict(zip(parts, weights.reshape(-1, 2).tolist(), strict=True)))
            score = fitness(made)
            if score > best:
                best, state = score, made
            told.append((weights, -score))
        search.tell(told)
    return state


def part(name: str) -> str:
    """What a tensor belongs to: the word behind its layer's number, or its first that says something.

    >>> part("model.layers.0.self_attn.q_proj.weight"), part("model.embed_tokens.weight"), part("lm_head.weight")
    ('self_attn', 'embed_tokens', 'lm_head')
    """
    words = name.split(".")
    numbers = [place for place, word in enumerate(words[:-1]) if word.isdigit()]
    return words[numbers[-1] + 1] if numbers else words[-2] if len(words) > 1 else words[0]


def by_part(pool: Pool, weights: dict[str, list[float]]) -> dict:
    """root + w_a (a - root) + w_b (b - root), with weights (w_a, w_b) by part."""
    out = {}
    for name in pool.root:
        one = {"x": pool.root[name]}, [{"x": pool.a[name]}, {"x": pool.b[name]}]
        out[name] = zoo.task_arithmetic(*one, weights[part(name)])["x"]
    return out


def evolving(rule: str, merger: Callable | None = None, **change):
    """Evolver as a method; merger(pool): what makes one model of a population."""
    def method(pool: Pool, fitness, rng, watch=None, log=None):
        how = Evolution(rule, generations=pool.generations, seed=int(rng.integers(2**31)))
        found = evolver.evolve(pool.members, fitness, replace(how, **change), merger and merger(pool), watch=watch)
        if log is not None:
            log += found.log
        return found.state

    return method


METHODS = {
    "best_single": best_single,
    "mean": lambda pool, fitness, rng: zoo.linear([pool.a, pool.b]),
    "slerp_half": lambda pool, fitness, rng: pool.middle,
    "slerp_grid": slerp_grid,
    "simplex_grid": simplex_grid,
    "greedy_soup": greedy_soup,
    "cma": cma,
    "evolver_paper": evolving("paper"),
    "evolver_code": evolving("code"),
    "evolver_paper_expected": evolving("paper", expected=True),
    "evolver_code_expected": evolving("code", expected=True),
    "evolver_mean": evolving("code", lambda pool: zoo.linear),
    "evolver_fisher": evolving("code", lambda pool: lambda states: zoo.fisher(states, pool.fishers)),
    "evolver_regmean": evolving("code", lambda pool: lambda states: zoo.regmean(states, pool.grams)),
}
SIMPLE = ("best_single", "mean", "slerp_half")
EVOLVERS = ("evolver_paper", "evolver_code")


# What the run makes of them -----------------------------------------------------------------------------------------


def pool_of(run: Run) -> Pool:
    """The pool of a run's `family`; Fisher information and Gram matrices are of each member on its own training text.
    """
    names = family(run)
    root, a, b = (run.model(name).state_dict() for name in names)
    found = Pool(root, a, b, merging.between(merging.slerp, a, b, 0.5), run.lineage.studies.search_budget)
    model = run.model(names[0]).to(lm.device())
    texts = [own_text(run, name, run.lineage.studies.search_tokens) for name in names]
    texts.append(np.concatenate(texts[1:]))
    for state, blocks in zip(found.members, texts, strict=True):
        model.load_state_dict(state)
        found.fishers.append(estimates.fisher(model, blocks))
        found.grams.append(estimates.grams(model, blocks))
    return found


def runs(run: Run) -> list[Run]:
    """The run, and the run from other language-model seeds, studies.replicates in all."""
    return [variants.replicate(run, number) for number in range(run.lineage.studies.replicates)]


def searches(run: Run) -> pd.DataFrame:
    """merge_search.csv: per language-model seed and method, how many development evaluations it took and the loss (nats
    per token) of the model that it chose, by split (dev, test) and domain, `macro` their mean."""
    return _all(run, "search.csv", COLUMNS)


def evolution(run: Run) -> pd.DataFrame:
    """merge_evolution.csv: per language-model seed, Evolver's rule and generation, the macro loss of every member on
    development text, and of the fittest (member "best") on both halves."""
    return _all(run, "evolution.csv", EVOLUTION)


def _all(run: Run, file: str, columns: list[str]) -> pd.DataFrame:
    if family(run) is None:
        return pd.DataFrame(columns=columns)
    frames = [pd.read_csv(made.folder / file).assign(model_seed=number)
              for number, one in enumerate(runs(run)) for made in _stages(one)]
    return pd.concat(frames, ignore_index=True)[columns]


def _stages(run: Run) -> list:
    """The searches of a run, made or found."""
    held = _Held(run)
    names = tqdm(METHODS, desc="merging by development text", unit="method", delay=5)
    settings = [run.lineage.model.seed, list(METHODS), *sizes(run)]
    inputs = [run.corpus_stage, *map(run.model_stage, family(run))]
    return [run.stage(f"search-{name}", lambda folder, name=name: held.search(name, folder), settings, inputs)
            for name in names]


def sizes(run: Run) -> tuple[int, int]:
    """Tokens per domain, and evaluations, of a search."""
    return run.lineage.studies.search_tokens, run.lineage.studies.search_budget


class _Held:
    """A run's pool and held-out text, made when they are first needed."""

    def __init__(self, run: Run):
        self.run, self.pool, self.model = run, None, None

    def ready(self):
        if self.pool is None:
            self.pool, self.model = pool_of(self.run), self.run.model(family(self.run)[0]).to(lm.device())
            tokens = sizes(self.run)[0]
            self.dev, self.test = self.run.held_out("dev", tokens), self.run.held_out("test", 2 * tokens)

    def search(self, name: str, folder) -> None:
        """One method, its losses as search.csv; of Evolver its generations too."""
        self.ready()
        fitness, seen, log = Fitness(self.model, self.dev), {}, []
        rng = np.random.default_rng([self.run.lineage.model.seed, list(METHODS).index(name)])
        more = dict(watch=seen.setdefault, log=log) if name in EVOLVERS else {}
        state = METHODS[name](self.pool, fitness, rng, **more)
        rows = [dict(method=name, evaluations=fitness.calls, split=split, domain=domain, loss_nats=loss)
                for split, blocks in (("dev", self.dev), ("test", self.test))
                for domain, loss in self.losses(state, blocks).items()]
        (folder / "search.csv").write_text(tables.csv(pd.DataFrame(rows)), encoding="utf-8")
        grown = [dict(method=name, generation=row["generation"], member=row["member"], dev=-row["score"])
                 for row in log]
        grown += [dict(method=name, generation=generation, member="best", dev=macro(self.model, one, self.dev),
                      test=macro(self.model, one, self.test)) for generation, one in seen.items()]
        (folder / "evolution.csv").write_text(tables.csv(pd.DataFrame(grown, columns=EVOLUTION[1:])), encoding="utf-8")

    def losses(self, state: dict, blocks: dict) -> dict[str, float]:
        """By domain, and `macro`, their mean."""
        self.model.load_state_dict(state)
        found = {domain: lm.evaluate(self.model, rows)["loss_nats"] for domain, rows in blocks.items()}
        return found | {"macro": sum(found.values()) / len(found)}


def rates(run: Run) -> pd.DataFrame:
    """merge_rates.csv: both rules of Evolver at every f and cr of RATES, on half the budget, one seed: macro
    loss of the fittest model on development and on test text."""
    if family(run) is None:
        return pd.DataFrame(columns=MAP)
    held, grid = _Held(run), list(itertools.product(evolver.RULES, *RATES))

    def build(rule, f, cr, folder):
        held.ready()
        found = evolver.evolve(held.pool.members, Fitness(held.model, held.dev),
                               Evolution(rule, f, cr, held.pool.generations // 2))
        tables.write(folder, [dict(rule=rule, f=f, cr=cr, dev=-found.score,
                                   test=macro(held.model, found.state, held.test))], MAP)

    inputs = [run.corpus_stage, *map(run.model_stage, family(run))]
    return pd.concat([tables.read(run.stage("search-rates", lambda folder, at=at: build(*at, folder),
                                            [*at, *sizes(run)], inputs))
                      for at in tqdm(grid, desc="Evolver at other rates", unit="search", delay=5)], ignore_index=True)
