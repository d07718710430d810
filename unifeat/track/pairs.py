"""The features behind the shares: matched pairs, what emerged and vanished, and where they fire."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat.sae import features
from unifeat.text import bpe
from unifeat.text.visible import show
from unifeat.track.found import Found

WIDTH, BEFORE = 26, 16  # tokens of a context, and how many of them stand before the strongest


@dataclass(frozen=True)
class Context:
    """A piece of text: its tokens as a reader sees them, and the activation of a feature of A and of one of B on each,
    as a share of the feature's greatest."""

    tokens: list[str]
    a: list[float]
    b: list[float]
    domain: str
    peak: int  # position of the token that it was chosen for


def pairs(found: Found) -> pd.DataFrame:
    """One-to-one pairs of the first pair of SAEs, greatest r first.

    a, b: numbers of the latents; r; fires_a, fires_b: tokens of the comparison text; twin_a, twin_b: each one's best r
    in a twin of its own SAE (NaN without one).
    """
    one = found.pairs[0]
    i, j = one.table["assigned"].T
    frame = pd.DataFrame(dict(a=one.live_a[i], b=one.live_b[j], r=one.table["r_assigned"]))
    for side, at, f in (("a", i, found.features[0]), ("b", j, found.features[1])):
        frame[f"fires_{side}"] = features.fires(f)[frame[side]]
        frame[f"twin_{side}"] = np.nan if found.twins[side] is None else found.twins[side][at]
    return frame.sort_values("r", ascending=False, kind="stable", ignore_index=True)


def unmatched(found: Found, side: str, tau: float) -> pd.DataFrame:
    """Live features of a side without a one-to-one partner at r >= tau, least like any of the other's first.

    a, b: numbers of the feature and of the other side's most like it; r: theirs; fires; twin: best r in a twin of the
    own SAE, NaN without one.
    """
    one, first = found.pairs[0], side == "a"
    own, other = (one.live_a, one.live_b) if first else (one.live_b, one.live_a)
    at = np.flatnonzero(~one.kept("one_to_one", tau)[0 if first else 1])
    most = other[one.table[f"best_of_{side}"][at]] if len(other) else np.full(len(at), -1)
    frame = pd.DataFrame({side: own[at], "b" if first else "a": most, "r": one.table[f"r_of_{side}"][at]})
    frame["fires"] = features.fires(found.features[0 if first else 1])[own[at]]
    frame["twin"] = np.nan if found.twins[side] is None else found.twins[side][at]
    return frame.sort_values("r", kind="stable", ignore_index=True)[["a", "b", "r", "fires", "twin"]]


class Reader:
    """Finds the contexts of features in the comparison text."""

    def __init__(self, found: Found):
        self.found, self.text, self.corpus = found, found.runs[0].comparison_text, found.runs[0].corpus
        self.columns = [f.tocsc() for f in found.features]
        self.at = np.full(self.text["blocks"].shape, -1)  # where a token stands among the kept ones
        self.at[self.text["block"], self.text["position"]] = np.arange(len(self.text["block"]))

    def contexts(self, a: int, b: int, count: int = 3, lead: str = "both") -> list[Context]:
        """Where feature `a` of A and `b` of B fire most, each context of another document.

        lead: whose strongest tokens are looked up, a, b or both in turn.
        """
        strongest = [features.top_tokens(m, at, 60) for m, at in zip(self.columns, (a, b), strict=True)]
        chosen = dict(a=strongest[:1], b=strongest[1:], both=strongest)[lead]
        out, seen = [], set()
        for rank in range(max(map(len, chosen), default=0)):
            for tokens in chosen:
                if rank < len(tokens) and len(out) < count:
                    document = self.text["document"][tokens[rank]]
                    if document not in seen:
                        seen.add(document)
                        out.append(self._context(int(tokens[rank]), a, b))
        return out

    def peak(self, side: int, feature: int) -> str:
        """The token on which a feature is strongest, "" if it never fires."""
        strongest = features.top_tokens(self.columns[side], feature, 1)
        return "" if not len(strongest) else self._shown(self.text["blocks"][
            self.text["block"][strongest[0]], self.text["position"][strongest[0]]])

    def _context(self, token: int, a: int, b: int) -> Context:
        block, position = self.text["block"][token], int(self.text["position"][token])
        start = int(np.clip(position - BEFORE, 0, max(0, self.text["blocks"].shape[1] - WIDTH)))
        ids, rows = (m[block, start:start + WIDTH] for m in (self.text["blocks"], self.at))
        levels = [_levels(m, feature, rows) for m, feature in zip(self.columns, (a, b), strict=True)]
        domain = list(self.found.runs[0].lineage.domains)[self.text["domain"][token]]
        label = self.found.runs[0].lineage.text[domain].label
        tokens, left, right, peak = self._joined(ids, *levels, position - start)
        return Context(tokens, left, right, label, peak)

    def _joined(self, ids, a, b, peak: int):
        """Tokens as shown; neighbours that only together are a character are one, with the greater activation."""
        pieces = [bpe.token_text(self.corpus.tokenizer, int(i)) for i in ids]
        tokens, left, right, start, at = [], [], [], 0, 0
        while start < len(pieces):
            end = _character(pieces, start)
            word = pieces[start] if end == start + 1 else b"".join(map(_data, pieces[start:end])).decode()
            if start <= peak < end:
                at = len(tokens)
            tokens.append(show(word))
            left.append(max(a[start:end]))
            right.append(max(b[start:end]))
            start = end
        return tokens, left, right, at

    def _shown(self, number: int) -> str:
        return show(bpe.token_text(self.corpus.tokenizer, int(number)))


def _levels(columns: sparse.csc_matrix, feature: int, rows: np.ndarray) -> list[float]:
    """A feature's activations at `rows` (-1: none), as shares of its greatest."""
    if feature < 0:
        return [0.0] * len(rows)
    where = slice(columns.indptr[feature], columns.indptr[feature + 1])
    values = dict(zip(columns.indices[where].tolist(), columns.data[where].tolist(), strict=True))
    most = max(values.values(), default=0.0)
    return [max(0.0, values.get(int(row), 0.0)) / most if most > 0 else 0.0 for row in rows]


def _character(pieces: list, start: int) -> int:
    """Where the run of tokens ends that from `start` on spells whole characters: one token, if that does."""
    if isinstance(pieces[start], str):
        return start + 1
    data = b""
    for end in range(start, min(len(pieces), start + 6)):
        data += _data(pieces[end])
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        return end + 1
    return start + 1


def _data(token: str | bytes) -> bytes:
    return token if isinstance(token, bytes) else token.encode()
