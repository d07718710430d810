"""Near-duplicate documents, by MinHash and an exact comparison of the candidates."""

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

SHINGLE, JACCARD = 8, 0.8  # documents that share 80 % of their runs of eight words are near-duplicates
BANDS, ROWS = 16, 4  # of the MinHash signature: a pair at 0.8 becomes a candidate with probability 0.9998
MIX = np.uint64(0x9E3779B97F4A7C15)  # an odd number with well spread bits (2**64 over the golden ratio)


def distinct(texts: list[str]) -> np.ndarray:
    """Which texts are no near-duplicate of an earlier kept one: (len(texts),) bool.

    Near-duplicate: the sets of eight-word runs (case, spacing, punctuation ignored) have a Jaccard similarity
    of at least 0.8. Candidates come from MinHash with banding (Broder 1997; Leskovec et al., Mining of
    Massive Datasets, section 3.4), then they are compared exactly. A text inside a much longer one is not
    found.

    >>> a = "the quick brown fox jumps over the lazy dog and runs away"
    >>> distinct([a, a.upper() + "!", "some other text"]).tolist()
    [True, False, True]
    """
    words = {}
    shingles = lru_cache(maxsize=4096)(lambda i: np.unique(_shingles(texts[i], words)))
    keep, seen = np.ones(len(texts), bool), [{} for _ in range(BANDS)]
    for i, bands in enumerate(_signatures(texts, words)):
        near = sorted({j for table, band in zip(seen, bands, strict=True) for j in table.get(band, ())})
        keep[i] = not any(_jaccard(shingles(i), shingles(j)) >= JACCARD for j in near)
        if keep[i]:
            for table, band in zip(seen, bands, strict=True):
                table.setdefault(band, []).append(i)
    return keep


def _shingles(text: str, words: dict) -> np.ndarray:
    """Hashes of the runs of eight words, or of all words if there are fewer: (runs,) uint64."""
    found = re.findall(r"\w+", text.lower()) or [text.strip()]
    for word in set(found):
        if word not in words:
            words[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
    numbers = np.fromiter(map(words.__getitem__, found), np.uint64, len(found))
    numbers = np.pad(numbers, (0, max(0, SHINGLE - len(numbers))))
    runs = len(numbers) - SHINGLE + 1
    total = np.zeros(runs, np.uint64)
    for i in range(SHINGLE):
        total = total * MIX + numbers[i:i + runs]
    return (total ^ (total >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)


def _signatures(texts: list[str], words: dict) -> Iterator[list[bytes]]:
    """The MinHash bands of each text, from 64 multiplicative hashes with fixed odd multipliers."""
    factors = np.random.default_rng(0).integers(2**63, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
    for start in range(0, len(texts), 256):
        runs = [_shingles(text, words) for text in texts[start:start + 256]]
        edges = np.cumsum([0, *map(len, runs)])[:-1]
        runs = np.concatenate(runs)
        least = np.stack([np.minimum.reduceat(runs * factor, edges) for factor in factors], axis=1)
        for row in least.reshape(len(edges), BANDS, ROWS):
            yield [band.tobytes() for band in row]


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
