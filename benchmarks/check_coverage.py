"""How often the printed intervals of shares hold the truth, and which side's share to believe, on planted lineages.

    python -m benchmarks.check_coverage > benchmarks/check_coverage.json

A model is a set of features, of which parent and child have some in common. An SAE seed finds each feature with the
feature's own chance, follows it well or badly, and adds latents of its own (junk). What is drawn anew each time is what
the intervals are over: the documents, and the SAE seeds. The truth is the mean over both, from a long text and many
seeds. Everything behind the drawing is the code of the runs: `comparison.compare`, `shares.Evidence`,
`shares.measured`.
"""

import itertools
import json
import sys
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from tqdm import tqdm

from unifeat import matching
from unifeat.matching import comparison
from unifeat.matching.comparison import Comparison
from unifeat.studies import shares

TAUS = (0.5, 0.7, 0.8, 0.9)
LABELS = {"observed": ("ci_low", "ci_high"), "ceiling": ("ceiling_low", "ceiling_high"),
          "excess": ("excess_low", "excess_high")}
TOKENS = 40  # kinds of token
REPEATS, SEEDS, MANY, LONG = 200, 3, 16, 4000
DOCUMENTS, LENGTH, RESAMPLES = 240, 50, 200


@dataclass(frozen=True)
class World:
    """What two models have, and how well SAEs find it.

    both, own: features that the models have in common, and of each alone. found: chances that an SAE of the parent and
    of the child finds a feature, drawn between the two ends for each feature and then fixed; own_found: the same for
    features of one model alone, None = as `found`. junk: latents of each SAE that are no feature, for parent and child.
    doubles: features that each SAE finds twice, so that best matches are many-to-one.
    follow: ends of the share of a feature's firings that its latent copies, drawn for each latent.
    """

    both: int = 40
    own: int = 20
    found: tuple[tuple[float, float], tuple[float, float]] = ((0.6, 1.0), (0.6, 1.0))
    own_found: tuple[tuple[float, float], tuple[float, float]] | None = None
    junk: tuple[int, int] = (4, 4)
    doubles: int = 6
    follow: tuple[float, float] = (0.85, 1.0)
    seed: int = 0


WORLDS = {"easy": World(), "hard": World(found=((0.3, 0.9), (0.2, 0.8)), junk=(10, 15), follow=(0.75, 1), seed=1),
          "few": World(both=12, own=28, seed=2)}


class Lineage:
    """A parent and a child of one world: its features are fixed, text and SAE seeds are drawn."""

    def __init__(self, world: World):
        rng = np.random.default_rng(world.seed)
        self.world, count = world, world.both + 2 * world.own
        self.rates = np.exp(rng.uniform(np.log(0.01), np.log(0.06), count))
        self.of_token = rng.random(count) < 0.25  # features that only one kind of token lets fire
        self.token = rng.integers(TOKENS, size=count)
        places = np.arange(count)
        self.has = [places[places < world.both + world.own],
                    places[(places < world.both) | (places >= world.both + world.own)]]
        own = world.own_found or world.found
        self.chance = [np.where(has < world.both, rng.uniform(*world.found[side], len(has)),
                                rng.uniform(*own[side], len(has))) for side, has in enumerate(self.has)]

    def text(self, documents: int, rng) -> dict[str, np.ndarray]:
        """Documents of LENGTH tokens in two domains."""
        document = np.repeat(np.arange(documents), LENGTH)
        return dict(document=document, domain=document % 2, token=rng.integers(TOKENS, size=len(document)))

    def firings(self, text: dict, rng) -> np.ndarray:
        """Activations (tokens, features) of every feature of either model; firings crowd into documents."""
        documents = text["document"].max() + 1
        rate = self.rates * rng.gamma(1.5, 1 / 1.5, (documents, len(self.rates)))
        rate = np.where(self.of_token, 0.6 * (text["token"][:, None] == self.token), rate[text["document"]])
        return np.where(rng.random(rate.shape) < rate, rng.gamma(2, 0.5, rate.shape), 0).astype(np.float32)

    def sae(self, side: int, firings: np.ndarray, rng) -> sparse.csr_matrix:
        """Latents (tokens, found and junk) of one SAE seed of the parent (side 0) or the child (1)."""
        found = self.has[side][rng.random(len(self.has[side])) < self.chance[side]]
        found = np.concatenate([found, rng.choice(found, self.world.doubles)])
        share = rng.uniform(*self.world.follow, len(found))
        copies = firings[:, found] * (rng.random((len(firings), len(found))) < share)
        stray = np.where(rng.random(copies.shape) < (1 - share) * self.rates[found],
                         rng.gamma(2, 0.5, copies.shape), 0)
        junk = np.where(rng.random((len(firings), self.world.junk[side])) < 0.03,
                        rng.gamma(2, 0.5, (len(firings), self.world.junk[side])), 0)
        return sparse.csr_matrix(np.concatenate([copies + stray, junk], axis=1).astype(np.float32))

    def evidence(self, documents: int, seeds: int, rng, resamples: int = RESAMPLES) -> shares.Evidence:
        """All comparisons of `seeds` SAEs of each model on one new text, as a run makes them."""
        text = self.text(documents, rng)
        firings = self.firings(text, rng)
        latents = {(side, seed): self.sae(side, firings, rng) for side in (0, 1) for seed in range(seeds)}

        def compared(a, b):
            table = comparison.compare(latents[a], latents[b], text, resamples, 0, with_null=a[0] != b[0])
            return Comparison((str(a[0]), a[1]), (str(b[0]), b[1]), np.arange(latents[a].shape[1]),
                              np.arange(latents[b].shape[1]), table)

        twins = {name: [compared((side, a), (side, b)) for a, b in itertools.combinations(range(seeds), 2)]
                 for side, name in enumerate(matching.SIDES)}
        return shares.Evidence([compared((0, a), (1, b)) for a, b in itertools.permutations(range(seeds), 2)], twins)


def truth(lineage: Lineage, rng) -> dict[tuple[str, str, str], np.ndarray]:
    """The three labels of every rule and side over matching.TAUS: means over MANY SAE seeds on a long text."""
    parts = [lineage.evidence(LONG, 4, rng, resamples=1) for _ in range(MANY // 4)]
    whole = shares.Evidence([one for part in parts for one in part.pairs],
                            {side: [one for part in parts for one in part.twins[side]] for side in matching.SIDES})
    found = {}
    for rule, side in itertools.product(matching.RULES, shares.SIDES):
        seen, most, least = (whole.mean("observed", rule, side), whole.ceiling("observed", rule, side),
                             whole.mean("null", rule, side))
        found |= {("observed", rule, side): seen, ("ceiling", rule, side): most,
                  ("excess", rule, side): matching.excess(seen, most, least)}
    return found


def coverage(world: World, repeats: int, bar) -> list[dict]:
    """Per label, rule, side and tau: how often the 95 % interval holds the truth, its mean width, and the bias.

    told: how often there is an interval at all; an excess has none where no seed twin finds anything again.
    """
    lineage = Lineage(world)
    rng = np.random.default_rng([world.seed, 1])
    true, held = truth(lineage, rng), {}
    for _ in range(repeats):
        evidence = lineage.evidence(DOCUMENTS, SEEDS, rng)
        for rule, side in itertools.product(matching.RULES, shares.SIDES):
            measured = shares.measured(evidence, rule, side)
            for (label, ends), tau in itertools.product(LABELS.items(), TAUS):
                at = shares.number(tau)
                low, high, value = (measured[name][at] for name in (*ends, label))
                held.setdefault((label, rule, side, tau), []).append([low, high, value])
        bar.update()
    return [dict(label=label, rule=rule, side=side, tau=tau)
            | judged(np.array(rows), float(true[label, rule, side][shares.number(tau)]))
            for (label, rule, side, tau), rows in held.items()]


def judged(rows: np.ndarray, true: float) -> dict[str, float]:
    """truth, told, covered, width and bias of intervals: rows (draws, low end, high end and value).

    >>> judged(np.array([[0.1, 0.3, 0.2], [0.3, 0.5, 0.4], [np.nan] * 3, [np.nan] * 3]), 0.2)
    {'truth': 0.2, 'told': 0.5, 'covered': 0.5, 'width': 0.2, 'bias': 0.1}
    """
    told = rows[np.isfinite(rows).all(1)]
    low, high, value = told.T
    numbers = dict(truth=true, told=len(told) / len(rows), covered=((low <= true) & (true <= high)).mean(),
                   width=(high - low).mean(), bias=(value - true).mean())
    return {name: round(float(number), 6) for name, number in numbers.items()}


SHARE = 0.3
CASES = {  # 30 of 100 features of either model are in the other
    "every SAE finds all": World(30, 70, ((1, 1), (1, 1)), None, (0, 0)),
    "the child's SAEs miss half, at random": World(30, 70, ((1, 1), (0.5, 0.5)), None, (0, 0)),
    "the child's SAEs have as much junk again": World(30, 70, ((1, 1), (1, 1)), None, (0, 100)),
    "both miss a third and have junk": World(30, 70, ((0.67, 0.67), (0.67, 0.67)), None, (50, 50)),
    "the child's SAEs miss what is the child's alone":
        World(30, 70, ((1, 1), (0.9, 0.9)), ((1, 1), (0.3, 0.3)), (0, 0)),
}


def sides(world: World, repeats: int = 20) -> dict[str, float]:
    """Mean shares by side, ceiling and excess of both sides, for a true share of SHARE; latents follow perfectly."""
    lineage = Lineage(replace(world, follow=(1.0, 1.0), doubles=0))
    rng, rows, at = np.random.default_rng(world.seed), [], shares.number(0.8)
    for _ in range(repeats):
        evidence = lineage.evidence(DOCUMENTS, 2, rng, resamples=1)
        found = {side: evidence.mean("observed", "one_to_one", side)[at] for side in shares.SIDES}
        ceilings = {side: evidence.ceiling("observed", "one_to_one", side)[at] for side in shares.SIDES}
        rows.append([*found.values(), *(found[side] / ceilings[side] for side in shares.SIDES)])
    names = [*shares.SIDES, *(f"{side} of its ceiling" for side in shares.SIDES)]
    return dict(zip(names, np.mean(rows, axis=0).round(3).tolist(), strict=True))


def tables(found: dict) -> str:
    """Both tables as Markdown: coverage per world, label, rule and side over the thresholds, and the sides."""
    lines = [f"| lineage | of | rule | side | {' | '.join(f'τ = {tau}' for tau in TAUS)} |",
             "|---" * (4 + len(TAUS)) + "|"]
    rows = {}
    for row in found["coverage"]:
        key = (row["world"], row["label"], row["rule"].replace("_", " "), row["side"])
        few = f", told {row['told']:.0%}" if row["told"] < 1 else ""
        rows.setdefault(key, {})[row["tau"]] = (f"{row['covered']:.0%} ({row['truth']:.2f} ± {row['width'] / 2:.2f}"
                                                f"{few})")
    lines += [f"| {' | '.join(key)} | {' | '.join(cells[tau] for tau in TAUS)} |" for key, cells in rows.items()]
    names = [name for name in found["sides"][0] if name not in ("case", "truth")]
    lines += ["", f"| what the SAEs do | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    lines += [f"| {row['case']} | {' | '.join(f'{row[name]:.2f}' for name in names)} |" for row in found["sides"]]
    return "\n".join(lines) + "\n"


def main(repeats: int = REPEATS) -> None:
    """Print both tables as JSON."""
    with tqdm(total=repeats * len(WORLDS), desc="planted lineages", file=sys.stderr) as bar:
        rows = [dict(world=name) | row for name, world in WORLDS.items() for row in coverage(world, repeats, bar)]
    cases = [dict(case=name, truth=SHARE) | sides(world) for name, world in CASES.items()]
    print(json.dumps(dict(repeats=repeats, seeds=SEEDS, documents=DOCUMENTS, coverage=rows, sides=cases), indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
