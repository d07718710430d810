"""The baseline a language model has to beat: a Bayes mixture of interpolated Kneser-Ney n-gram models over tokens.

`KneserNey` counts one text. `Mixture` joins one such model per domain. It is told no domain but infers it, as a
language model can. One table of all domains cannot, and is easier to beat on them.
"""

import math

import numpy as np
import torch


class KneserNey:
    """Interpolated Kneser-Ney with one absolute discount per order (Chen & Goodman 1999, eq. 22-24).

        P_k(w | h) = max(c(h w) - D_k, 0) / c(h .) + D_k N1+(h .) / c(h .) P_{k-1}(w | h'),   D_k = n1 / (n1 + 2 n2)

    c counts occurrences for the highest order and distinct left neighbours (continuations) below it; h' is h without
    its oldest token; P_0 is uniform; a context never seen passes straight to the next lower order.
    """

    def __init__(self, tokens: np.ndarray, order: int, vocab: int):
        """Count the n-grams of `tokens` (1-D integers below `vocab`) up to `order`."""
        self.order, self.vocab, self.tables = order, vocab, []
        tokens = np.asarray(tokens, dtype=np.int64)
        ids = np.zeros(len(tokens) + 1, dtype=np.int64)  # id of the (k-1)-gram starting at each position; k = 1: all 0
        grams = []
        for k in range(1, order + 1):
            each = torch.from_numpy(ids[:len(tokens) - k + 1] * vocab + tokens[k - 1:])
            keys, inverse, counts = (found.numpy() for found in
                                     torch.unique(each, return_inverse=True, return_counts=True))  # on all cores
            grams.append((keys, counts))
            if k > 1:  # continuation counts of the order below: distinct k-grams that end in each (k-1)-gram
                ends = np.empty(len(keys), dtype=np.int64)
                ends[inverse] = ids[1:len(inverse) + 1]
                grams[k - 2] = (grams[k - 2][0], np.bincount(ends, minlength=len(grams[k - 2][0])))
            ids = inverse
        for keys, counts in grams:
            n1, n2 = (counts == 1).sum(), (counts == 2).sum()
            discount = n1 / (n1 + 2 * n2) if n1 else 0.5  # no singletons: leave some mass to lower orders
            context = keys // vocab
            size = int(context[-1]) + 1
            self.tables.append((keys, counts, discount, np.bincount(context, counts, size),
                                np.bincount(context[counts > 0], minlength=size)))

    def log_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Natural log-probability of every token but the first of each row (n, context), given its row so far."""
        rows = np.asarray(rows, dtype=np.int64)
        p = np.full(rows.shape, 1 / self.vocab)
        gram = np.zeros_like(rows)  # id of the (k-1)-gram ending at each position, -1 if never seen
        for k, (keys, counts, discount, totals, kinds) in enumerate(self.tables, start=1):
            context = gram if k == 1 else np.pad(gram[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
            known = (context >= 0) & (context < len(totals))
            at = np.where(known, context, 0)
            gram = np.where(known, self._find(keys, at * self.vocab + rows), -1)
            count = np.where(gram >= 0, counts[gram], 0)
            total = np.where(known, totals[at], 0)
            mixed = (np.maximum(count - discount, 0) + discount * kinds[at] * p) / np.maximum(total, 1)
            p = np.where(total > 0, mixed, p)
        return np.log(p[:, 1:])

    @staticmethod
    def _find(keys, wanted):
        index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[index] == wanted, index, -1)


class Mixture:
    """Bayes mixture of models over the same tokens, each weighed by how well it predicted the document so far.

        P(w_t | h) = sum_d pi_d(h) P_d(w_t | h),   pi_d(h) ∝ prod_{s<t} P_d(w_s | w_<s)

    The prior is equal. The product is over the tokens predicted so far in the document and the row: the posterior pi
    restarts at the prior with every row and after every `eos`. The first token of a row is never predicted, so it has
    no weight. This is the aggregating algorithm with log loss (Vovk 1990, Aggregating strategies, COLT): between two
    restarts the loss exceeds that of the best single model by at most log(number of models) nats.
    """

    def __init__(self, models: list, eos: int = 0):
        """Join `models`, each with the `log_probabilities` of `KneserNey`; `eos` is the token that parts documents."""
        self.models, self.eos = models, eos

    def log_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Natural log-probability of every token but the first of each row (n, context), given its row so far."""
        rows = np.asarray(rows, dtype=np.int64)
        each = np.stack([model.log_probabilities(rows) for model in self.models])  # (models, n, context - 1)
        prior = -math.log(len(self.models))
        weights, mixed = np.full(each.shape[:2], prior), np.empty(each.shape[1:])  # weights: log pi, (models, n)
        for t in range(mixed.shape[1]):
            joint = weights + each[:, :, t]
            mixed[:, t] = np.logaddexp.reduce(joint)
            weights = np.where(rows[:, t + 1] == self.eos, prior, joint - mixed[:, t])
        return mixed


def evaluate(model: KneserNey | Mixture, blocks: np.ndarray, token_bytes: np.ndarray) -> dict:
    """Tokens, bytes, loss_nats and bits_per_byte of the n-gram model on the same predictions as `lm.evaluate`."""
    nats = -model.log_probabilities(blocks).sum()
    count, size = blocks[:, 1:].size, int(token_bytes[np.asarray(blocks[:, 1:])].sum())
    return dict(tokens=count, bytes=size, loss_nats=nats / count, bits_per_byte=nats / math.log(2) / size)
