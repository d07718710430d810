"""Planted truth: feature activations of a parent and a child whose every relation is known beforehand.

Features fire on few tokens, in bursts within documents and more in some domains than in others, with skewed
strengths. Parent and child differ by a known relation, then by order, scale and noise.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

DOMAINS = 4
SHAPE = 2.0  # of the gamma-distributed strengths (mean 1, second moment 1.5)


@dataclass(frozen=True)
class Recipe:
    """How many features of each kind, and what the text is like."""

    shared: tuple[float, ...]  # Pearson's r of each shared pair over unlimited text, the noise included
    emerged: int = 0  # child features without a parent
    vanished: int = 0  # parent features without a child
    split: tuple[float, ...] = ()  # parents whose firings two children divide: the larger child's share
    merged: tuple[float, ...] = ()  # children that fire for two parents: the larger parent's share
    documents: int = 200
    length: int = 100  # mean tokens per document; lengths are ragged
    density: tuple[float, float] = (0.002, 0.05)  # share of tokens a feature fires on: drawn log-uniformly
    burst: float = 1.0  # shape of the gamma rates of documents: small means firings crowd into few documents
    noise: float = 0.0  # variance of a factor (mean 1) on every activation of a child


@dataclass(frozen=True)
class Planted:
    """Activations (tokens, features) of both sides, what was planted, and the text's layout.

    truth: kind (shared, split, merged, emerged, vanished), parent, child (columns; -1 = none) and r, the
    correlation over unlimited text; one row per related pair or single feature.
    """

    parent: sparse.csr_matrix
    child: sparse.csr_matrix
    truth: pd.DataFrame
    document: np.ndarray
    domain: np.ndarray

    def share(self, side: str, tau: float) -> float:
        """Share of a side's features ("parent" or "child") whose best partner has planted r >= tau."""
        best = self.truth[self.truth[side] >= 0].groupby(side)["r"].max()
        return float((best >= tau).mean())


class _Text:
    """Documents of ragged length in DOMAINS domains, and draws of activations on them."""

    def __init__(self, recipe: Recipe, rng):
        lengths = 1 + rng.poisson(rng.gamma(2.0, recipe.length / 2, recipe.documents))
        self.recipe, self.rng = recipe, rng
        self.document = np.repeat(np.arange(recipe.documents), lengths)
        self.of = np.arange(recipe.documents) % DOMAINS
        self.domain = self.of[self.document]

    def draw(self, rates: np.ndarray) -> np.ndarray:
        """One feature's activations (tokens,); rates (DOMAINS,): its firing probability in each domain."""
        rng, burst = self.rng, self.recipe.burst
        rate = np.minimum(rates[self.of] * rng.gamma(burst, 1 / burst, len(self.of)), 1)[self.document]
        return np.where(rng.random(len(rate)) < rate, rng.gamma(SHAPE, 1 / SHAPE, len(rate)), 0)


def moments(rates: np.ndarray) -> tuple[float, float, float]:
    """E x^2, Var x and the variance of x's mean between domains, for a feature with these firing rates (DOMAINS,).

    >>> [round(value, 4) for value in moments(np.array([0.1, 0.3]))]
    [0.3, 0.26, 0.01]
    """
    mean = float(rates.mean())
    square = (1 + 1 / SHAPE) * mean
    return square, square - mean**2, float(rates.var())


def copy_share(r: float, rates: np.ndarray, noise: float) -> float:
    """Share q of tokens on which a child copies its parent, the rest being an independent draw, so that Pearson = r.

    With y = copy of x (probability q) or an independent x', times a factor of mean 1 and variance v:
    cov(x, y) = q Var x + (1 - q) B with B the variance between domains, and Var y = Var x + v E x^2.

    Raises:
        ValueError: r cannot be reached with this much noise, or lies below what shared domains alone give.
    """
    square, variance, between = moments(rates)
    q = (r * np.sqrt(variance * (variance + noise * square)) - between) / (variance - between)
    if not 0 <= q <= 1 + 1e-12:
        raise ValueError(f"No child has r = {r} with a parent of density {rates.mean():.3f} under noise {noise}; "
                         "choose a smaller noise, or an r between the domains' own correlation and 1.")
    return min(q, 1.0)


def split_r(share: float, rates: np.ndarray, noise: float) -> float:
    """Pearson's r over unlimited text between a feature x and y = x on a random `share` of its firings.

    cov(x, y) = share Var x; Var y = share (1 + v) E x^2 - (share E x)^2.
    """
    square, variance, _ = moments(rates)
    return share * np.sqrt(variance / (share * (1 + noise) * square - (share * rates.mean())**2))


def plant(recipe: Recipe, seed: int, features: int = 0) -> Planted:
    """Draw a parent and a child by the recipe; `features` seeds the densities, `seed` text and firings.

    Two draws with equal `features` are two texts read by the same models: their truth is the same.
    """
    rng, fixed = np.random.default_rng([seed, features]), np.random.default_rng(features)
    text = _Text(recipe, rng)
    a, b, rows = [], [], []

    def rates():
        low, high = np.log(recipe.density)
        return np.exp(fixed.uniform(low, high)) * fixed.dirichlet(np.full(DOMAINS, 5.0)) * DOMAINS

    def side(columns, x):
        columns.append(x)
        return len(columns) - 1

    def factor(x):
        v = recipe.noise
        return x * rng.gamma(1 / v, v, len(x)) if v else x

    for r in recipe.shared:
        rate = rates()
        x = text.draw(rate)
        y = np.where(rng.random(len(x)) < copy_share(r, rate, recipe.noise), x, text.draw(rate))
        rows.append(("shared", side(a, x), side(b, factor(y)), r))
    for share in recipe.split:
        rate = rates()
        x = text.draw(rate)
        first, parent = rng.random(len(x)) < share, side(a, x)
        rows += [("split", parent, side(b, factor(x * part)), split_r(size, rate, recipe.noise))
                 for part, size in ((first, share), (~first, 1 - share))]
    for share in recipe.merged:
        rate = rates()
        y = text.draw(rate)
        first, child = rng.random(len(y)) < share, side(b, y)
        rows += [("merged", side(a, factor(y * part)), child, split_r(size, rate, recipe.noise))
                 for part, size in ((first, share), (~first, 1 - share))]
    rows += [("vanished", side(a, text.draw(rates())), -1, 0.0) for _ in range(recipe.vanished)]
    rows += [("emerged", -1, side(b, factor(text.draw(rates()))), 0.0) for _ in range(recipe.emerged)]
    return _shuffled(a, b, rows, text, fixed)


def _shuffled(a, b, rows, text, rng) -> Planted:
    """Both sides in random order and in random units, the truth renamed to match."""
    truth = pd.DataFrame(rows, columns=["kind", "parent", "child", "r"])
    sides = {}
    for name, columns in (("parent", a), ("child", b)):
        order, scale = rng.permutation(len(columns)), np.exp(rng.normal(0, 2, len(columns)))
        new = np.append(np.argsort(order), -1)  # the last entry keeps -1
        truth[name] = new[truth[name]]
        dense = np.stack(columns, axis=1) if columns else np.zeros((len(text.document), 0))
        sides[name] = sparse.csr_matrix((dense * scale)[:, order])
    return Planted(sides["parent"], sides["child"], truth, text.document, text.domain)
