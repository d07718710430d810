"""Near-duplicate documents, by MinHash and an exact comparison of the candidates."""

from functools import lru_cache

import numpy as np
import torch
from tqdm import tqdm

from unifeat.support import parallel

SHINGLE, JACCARD = 8, 0.8  # documents that share 80 % of their runs of eight words are near-duplicates
BANDS, ROWS = 16, 4  # of the MinHash signature: a pair at 0.8 becomes a candidate with probability 0.9998
MIX = 0x9E3779B97F4A7C15  # an odd number with well spread bits (2**64 over the golden ratio)
INVERSE = pow(MIX, -1, 2**64)
LETTER = np.array([chr(byte).isalnum() or chr(byte) == "_" or byte > 127 for byte in range(256)])


def distinct(texts: list[str]) -> np.ndarray:
    """Which texts are no near-duplicate of an earlier kept one: (len(texts),) bool.

    Near-duplicate: the sets of eight-word runs (case, spacing, ASCII punctuation ignored) have a Jaccard similarity
    of at least 0.8; texts without a word are alike. Candidates come from MinHash with banding (Broder 1997; Leskovec
    et al., Mining of Massive Datasets, section 3.4), then they are compared exactly. A text inside a much longer one
    is not found.

    >>> a = "the quick brown fox jumps over the lazy dog and runs away"
    >>> distinct([a, a.upper() + "!", "some other text"]).tolist()
    [True, False, True]
    """
    bands, shared = _signatures(texts), np.zeros(len(texts), bool)
    for band in bands.T:
        order = np.argsort(band)
        same = np.flatnonzero(band[order[1:]] == band[order[:-1]])
        shared[order[same]] = shared[order[same + 1]] = True
    shingles = lru_cache(maxsize=4096)(lambda i: np.unique(_shingles([texts[i]])[0]))
    keep, seen = np.ones(len(texts), bool), [{} for _ in range(BANDS)]
    for i in np.flatnonzero(shared).tolist():
        mine = list(zip(seen, bands[i].tolist(), strict=True))
        near = sorted({j for table, band in mine for j in table.get(band, ())})
        keep[i] = not any(_jaccard(shingles(i), shingles(j)) >= JACCARD for j in near)
        if keep[i]:
            for table, band in mine:
                table.setdefault(band, []).append(i)
    return keep


def _signatures(texts: list[str]) -> np.ndarray:
    """The MinHash bands of each text as numbers, (texts, BANDS) uint64, from 64 multiplicative hashes."""
    factors = np.random.default_rng(0).integers(2**63, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)

    def bands(start):
        runs, starts = _shingles(texts[start:start + 256])
        least = np.stack([np.minimum.reduceat(runs * factor, starts) for factor in factors], axis=1)
        return (least.reshape(-1, BANDS, ROWS) * factors[:ROWS]).sum(axis=2)  # equal rows have equal sums

    starts = range(0, len(texts), 256)
    parts = tqdm(parallel.spread(bands, starts, torch.get_num_threads()), "near-duplicates", len(starts), unit="doc",
                 unit_scale=256, delay=5, leave=False)
    return np.concatenate([np.empty((0, BANDS), np.uint64), *parts])


def _shingles(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of eight words, or of all words if there are fewer: (runs,) uint64, and each text's first.

    A word's hash is a polynomial of its bytes modulo 2**64: a byte is weighted by MIX to the power of its place among
    all texts, and the word's sum by the inverse of its first byte's weight.
    """
    data = [text.lower().encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(each) + 1 for each in data])  # a line end closes each
    letters = np.frombuffer(b"\n".join([b"", *data, b""]), np.uint8)
    inside = LETTER[letters]
    first = np.flatnonzero(inside[1:] > inside[:-1]) + 1
    weights, inverses = (np.cumprod(np.full(len(letters), base, np.uint64)) for base in (MIX, INVERSE))
    hashes = np.add.reduceat(letters * inside * weights, first) * inverses[first] if len(first) else first
    owner = np.searchsorted(ends, first)
    counts = np.bincount(owner, minlength=len(texts))
    sizes = np.maximum(counts, SHINGLE)  # missing words have the number 0
    ends = np.cumsum(sizes)
    numbers = np.zeros(ends[-1], np.uint64)
    numbers[np.arange(len(first)) + (ends - sizes - np.cumsum(counts) + counts)[owner]] = hashes
    total = np.zeros(len(numbers) - SHINGLE + 1, np.uint64)
    for i in range(SHINGLE):
        total = total * np.uint64(MIX) + numbers[i:i + len(total)]
    whole = np.ones(len(total), bool)  # a run does not go on into the next text
    for i in range(1, SHINGLE):
        whole[ends[:-1] - i] = False
    total = total[whole]
    runs = sizes - SHINGLE + 1
    return (total ^ (total >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9), np.cumsum(runs) - runs


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
