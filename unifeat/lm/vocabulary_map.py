"""A value network for a model of another vocabulary: its logits carried from token to token.

The mapping is that of inverse value learning (Lu et al. 2025, arXiv 2410.21027, the authors' code): both tokenisations
of a text are aligned by dynamic time warping, aligned tokens are counted, and each token of the model takes one of the
value network's.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from rapidfuzz import fuzz, process
from rapidfuzz.distance import Levenshtein
from scipy import sparse

from unifeat.lm.hooks import ModelError, context
from unifeat.lm.value_network import Value

INSIDE = 0.1  # what the cost of two tokens is multiplied by where one is a part of the other
COLUMNS = 256  # of the counts, made dense at a time
ROWS = 64  # prefixes of one forward pass


def costs(a: list[str], b: list[str]) -> np.ndarray:
    """Edit distances of each two tokens (len(a), len(b)), a tenth of them where one is a part of the other.

    >>> costs(["ab", "x"], ["abc", "xy"]).tolist()
    [[0.1, 2.0], [3.0, 0.1]]
    """
    distance = process.cdist(a, b, scorer=Levenshtein.distance, dtype=np.float64)
    inside = process.cdist(a, b, scorer=fuzz.partial_ratio, score_cutoff=100, dtype=np.float64) == 100
    return distance * np.where(inside, INSIDE, 1.0)


def align(cost: np.ndarray) -> list[tuple[int, int]]:
    """The path of least summed cost from the first cell to the last, by steps down, right or both (dynamic time
    warping; Sakoe & Chiba 1978); of equal ways the diagonal one.

    >>> align(np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]))
    [(0, 0), (1, 1), (1, 2)]
    """
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0.0
    for i, row in enumerate(cost.tolist(), 1):
        above, here = total[i - 1].tolist(), [np.inf]
        for j, value in enumerate(row, 1):
            here.append(value + min(above[j - 1], above[j], here[j - 1]))
        total[i] = here
    i, j = cost.shape
    path = []
    while i and j:
        path.append((i - 1, j - 1))
        back = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        step = int(np.argmin(back))
        i, j = i - (step != 2), j - (step != 1)
    return path[::-1]


def counts(texts: Iterable[str], target, own) -> sparse.csr_matrix:
    """How often a token of the tokenizer `target` stands beside one of `own` in `texts`: (target's size, own's)."""
    found = Counter()
    for text in texts:
        sides = [tokenizer(text, add_special_tokens=False)["input_ids"] for tokenizer in (target, own)]
        if all(sides):
            a, b = (tokenizer.convert_ids_to_tokens(ids) for tokenizer, ids in zip((target, own), sides, strict=True))
            found.update((sides[0][i], sides[1][j]) for i, j in align(costs(a, b)))
    shape = len(target), len(own)
    if not found:
        return sparse.csr_matrix(shape)
    (rows, columns), values = zip(*found, strict=True), list(found.values())
    return sparse.csr_matrix((values, (rows, columns)), shape, dtype=np.float64)


def partners(table: sparse.csr_matrix) -> np.ndarray:
    """The partner of each row of counts (n_target, n_own), -1 where it has none: (n_target,).

    Each row's mean is taken off, each column is stretched to [0, 1], and the largest entry of a row is its partner.
    Ours: only tokens that stood beside each other can be partners. Without this a rare token takes any column that
    nothing else has.

    >>> partners(sparse.csr_matrix(np.array([[8.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]))).tolist()
    [0, 1, -1]
    """
    best, partner = np.full(table.shape[0], -np.inf), np.full(table.shape[0], -1)
    means, table = np.asarray(table.mean(1)).ravel(), table.tocsc()
    for start in range(0, table.shape[1], COLUMNS):
        part = table[:, start:start + COLUMNS].toarray()
        seen = part > 0
        part -= means[:, None]
        low, high = part.min(0), part.max(0)
        part = np.where(seen, (part - low) / np.where(high > low, high - low, 1.0), -np.inf)
        at = part.argmax(1)
        value = part[np.arange(len(part)), at]
        better = value > best
        best[better], partner[better] = value[better], start + at[better]
    return partner


def translated(value: Value, own, target, texts: Iterable[str]) -> "Translated":
    """The value network for models of the tokenizer `target`; own: its own; texts: some of what it will read."""
    return Translated(value, own, target, partners(counts(texts, target, own)))


@dataclass
class Translated:
    """A value network as a model of another vocabulary sees it; takes the place of a `Value` everywhere.

    value: the value network, residual; own, target: its tokenizer and the model's; partner (len(target),): as from
    `partners`. A token without a partner gets the mean of z_D, so that a constant added to z_D changes nothing.
    """

    value: Value
    own: object
    target: object
    partner: np.ndarray
    scheme = "residual"

    def __post_init__(self):
        if self.value.scheme != "residual":
            raise ModelError("A value network in cascade reads logits of its own vocabulary; carry over a residual "
                             "one.")
        self.network = self.value.network

    @property
    def vocab(self) -> int:
        """The size of the vocabulary that its logits are over."""
        return len(self.partner)

    @torch.no_grad()
    def logits(self, tokens: torch.Tensor, base=None, **_) -> torch.Tensor:
        """z_D (batch, length, target's vocab), float32, of the target's tokens (batch, length).

        Every prefix is written out and read again by the network's own tokenizer, since a prefix may end inside one
        of its tokens. base: not looked at.
        """
        return torch.stack([self._of_prefixes(self._own_ids([row[:i + 1] for i in range(len(row))]))
                            for row in tokens.tolist()])

    @torch.no_grad()
    def last(self, rows: Iterable[list[int]]) -> torch.Tensor:
        """z_D (rows, target's vocab) of the token after each row of the target's tokens."""
        return torch.cat([self._of_prefixes(self._own_ids([row])) for row in rows])

    def _own_ids(self, prefixes: list[list[int]]) -> list[list[int]]:
        texts = [text.rstrip("\N{REPLACEMENT CHARACTER}")  # half a letter
                 for text in self.target.batch_decode(prefixes)]
        return [ids[-context(self.network):] or [self.own.eos_token_id or 0]
                for ids in self.own(texts, add_special_tokens=False)["input_ids"]]

    def _of_prefixes(self, prefixes: list[list[int]]) -> torch.Tensor:
        """(prefixes, target's vocab): those that begin the longest come out of its one pass, the rest together."""
        device, longest = next(self.network.parameters()).device, prefixes[-1]
        whole = self.value.logits(torch.tensor([longest], device=device), use_cache=False)[0]
        out, others = [None] * len(prefixes), []
        for number, ids in enumerate(prefixes):
            if ids == longest[:len(ids)]:
                out[number] = whole[len(ids) - 1]
            else:
                others.append(number)
        for start in range(0, len(others), ROWS):
            part = [prefixes[number] for number in others[start:start + ROWS]]
            padded = torch.zeros(len(part), max(map(len, part)), dtype=torch.long, device=device)
            for row, ids in zip(padded, part, strict=True):
                row[:len(ids)] = torch.tensor(ids)
            found = self.value.logits(padded, use_cache=False)  # what follows a token does not change its logits
            for number, z, ids in zip(others[start:start + ROWS], found, part, strict=True):
                out[number] = z[len(ids) - 1]
        return self._carried(torch.stack(out))

    def _carried(self, z: torch.Tensor) -> torch.Tensor:
        partner = torch.from_numpy(self.partner).to(z.device)
        return torch.where(partner >= 0, z[:, partner.clamp_min(0)], z.mean(-1, keepdim=True))
