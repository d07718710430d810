"""The fast kernels of this room as their formulas, for reading: only tests import them, and hold the two equal."""

import math
from collections import Counter

import torch


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(d), keys up to the query) v; twin of `attention.forward`.

    Vaswani et al. 2017, arXiv 1706.03762, eq. 1; several queries per key head: Ainslie et al. 2023, arXiv 2305.13245.
    Shapes: q (batch, heads, tokens, d), k and v (batch, key heads, tokens, d).
    """
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    z = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (batch, heads, queries, keys)
    later = torch.ones_like(z, dtype=torch.bool).triu(1)
    return torch.softmax(z.masked_fill(later, -torch.inf), dim=-1) @ v


def cross_entropy(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """sum_i -log softmax(W x_i)[y_i] in nats; twin of the fused one in `training`, by autograd.

    Shapes: x (rows, d), weight (vocab, d), targets (rows,).
    """
    z = x @ weight.T
    return (z.logsumexp(1) - z.gather(1, targets[:, None]).squeeze(1)).sum()


def mixture(ps: list, eos: int):
    """P(word, history): the Bayes mixture as in the docstring of `ngram.Mixture`, its twin, by products.

    Vovk 1990, Aggregating strategies. ps: functions as `kneser_ney` gives them; history: a tuple of at least one token.
    """
    def p(word, history):
        start = max((s + 1 for s in range(1, len(history)) if history[s] == eos), default=1)  # of what weighs
        weights = [math.prod(one(history[s], history[:s]) for s in range(start, len(history))) for one in ps]
        return sum(weight * one(word, history) for weight, one in zip(weights, ps, strict=True)) / sum(weights)

    return p


def kneser_ney(tokens: list[int], order: int, vocab: int):
    """P(word, history): interpolated Kneser-Ney as in the docstring of `ngram.KneserNey`, its twin, by dictionaries.

    Chen & Goodman 1999, eq. 22-24. history: a tuple of the tokens before, of any length.
    """
    grams = {k: Counter(tuple(tokens[i:i + k]) for i in range(len(tokens) - k + 1)) for k in range(1, order + 1)}
    counts = {order: grams[order]} | {k: Counter(gram[1:] for gram in grams[k + 1]) for k in range(1, order)}

    def p(word, history, k=order):
        if k == 0:
            return 1 / vocab
        history = history[-(k - 1):] if k > 1 else ()
        lower = p(word, history, k - 1)
        follow = {gram[-1]: count for gram, count in counts[k].items() if gram[:-1] == history}
        if not follow:
            return lower
        n1, n2 = (sum(count == n for count in counts[k].values()) for n in (1, 2))
        d = n1 / (n1 + 2 * n2) if n1 else 0.5
        return (max(follow.get(word, 0) - d, 0) + d * len(follow) * lower) / sum(follow.values())

    return p
