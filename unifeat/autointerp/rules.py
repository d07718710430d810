"""Lexical explanations: rules over tokens that are learned, simulated and put into words."""

import keyword
import re
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

LUA_KEYWORDS = frozenset({"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
                          "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"})

KEYWORDS = frozenset(keyword.kwlist) | LUA_KEYWORDS | {"self"}
CLASSES = ("the start of the text", "a line break", "indentation", "a space", "a digit", "a keyword",
           "an opening bracket", "a closing bracket", "a quotation mark", "an operator", "a comma, colon or full stop",
           "other punctuation", "a capitalized word", "a word in capitals", "a word", "the inside of a word",
           "a name with an underscore", "part of a character")

SLOTS = ("token", "class", "before", "class before", "two before")
ATOMS = 5  # values a slot of a rule may take
SUPPORT = 3  # tokens of the learning half that a value must have been seen on
GAIN = 0.02  # correlation that a longer rule must add
CHUNK = 256  # features refined at once: bounds the memory of rules that cover much of the text


@dataclass(frozen=True)
class Rule:
    """Activation = grade of the token's value in the first slot, times its weight in the second (if there is one).

    slots: indices into SLOTS, one or two; values: for each of them {token or class number: grade or weight}.
    A token whose value is not listed is predicted to be silent. An empty rule predicts nothing.
    """

    slots: tuple[int, ...] = ()
    values: tuple[dict[int, float], ...] = field(default=())


def classify(token: str | bytes) -> int:
    r"""Index into CLASSES of a token's text.

    >>> [CLASSES[classify(text)] for text in (" def", "\n    ", "(", " The", "ing")]
    ['a keyword', 'a line break', 'an opening bracket', 'a capitalized word', 'the inside of a word']
    """
    if isinstance(token, bytes):
        return 17
    text = token.strip()
    if not text:
        return 1 if "\n" in token else 2 if len(token) > 1 or "\t" in token else 3
    patterns = ((4, r"\d+"), (6, r".*[(\[{]"), (7, r"[)\]}].*"), (8, r".*[\"'`“”‘’]+.*"), (9, r"[=+\-*/<>%&|^~!#@]+"),
                (10, r"[,.:;]+"))
    if text in KEYWORDS:
        return 5
    for number, pattern in patterns:
        if re.fullmatch(pattern, text, re.DOTALL):
            return number
    if not any(char.isalpha() for char in text):
        return 11
    if "_" in text:
        return 16
    if text[0].isupper():
        return 13 if len(text) > 1 and text.isupper() else 12
    return 14 if token[0].isspace() else 15


def slots(blocks: np.ndarray, block: np.ndarray, position: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What each kept token offers to a rule: (len(SLOTS), tokens) of token ids and class numbers.

    blocks (n, context) of ids, 0 being the special token and, here, the start of a block as well; block and
    position (tokens,): where the kept tokens stand; classes (vocab,): `classify` of every token, 0 for id 0.
    """
    ids = np.pad(blocks, ((0, 0), (2, 0)))
    here, one, two = (ids[block, position + shift] for shift in (2, 1, 0))
    two = np.where(one == 0, 0, two)  # nothing is known beyond the start of a document
    return np.stack([here, classes[here], one, classes[one], two])


def learn(f: sparse.csr_matrix, table: np.ndarray) -> list[Rule]:
    """The best short rule for each column of the activations f (tokens, features); table: `slots` of these tokens.

    First the one slot, and at most ATOMS of its values, with the greatest Pearson correlation between activation and
    rule; then a second slot, if it adds GAIN. A value's grade is the mean activation under it, so that

        r = (n Q - T S) / sqrt((n Q - T^2)(n F - S^2)),  Q = sum_a S_a^2 / C_a,  T = sum_a S_a

    with S_a, C_a the summed activation and the count of value a, and S, F the sums of f and f^2 over all n tokens.
    """
    f = sparse.csc_matrix(f, dtype=np.float64)
    total, squares, n = sums(f), sums(f.multiply(f)), f.shape[0]
    hots = [one_hot(column) for column in table]
    counts = [np.bincount(column) for column in table]
    best, rules = np.full(f.shape[1], GAIN), [Rule()] * f.shape[1]
    for s, (hot, count) in enumerate(zip(hots, counts, strict=True)):
        hits = sparse.csc_matrix(hot.T @ f)
        for j in range(f.shape[1]):
            atoms, s_a = column(hits, j)
            c_a = count[atoms]
            found, r = _pick(atoms, s_a, c_a, c_a, c_a, total[j], squares[j], n)
            if r > best[j]:
                best[j], rules[j] = r, Rule((s,), (found,))
    for start in range(0, f.shape[1], CHUNK):
        some = slice(start, min(start + CHUNK, f.shape[1]))
        _refine(f, table, hots, rules, best, some, total, squares)
    return rules


def _refine(f, table, hots, rules, best, some, total, squares):
    """Adds to each rule of the features `some` the second slot that helps most, if one does."""
    numbers = range(some.start, some.stop)
    p = sparse.csc_matrix(simulate([rules[j] for j in numbers], table))
    pf, pp = p.multiply(f[:, some]), p.multiply(p)
    seen, kept = p.astype(bool).astype(np.float64), list(rules[some])
    for s, hot in enumerate(hots):
        x, y, z, c = (sparse.csc_matrix(hot.T @ m) for m in (pf, pp, p, seen))
        for k, j in enumerate(numbers):
            if not kept[k].slots or kept[k].slots[0] == s:
                continue
            atoms, x_a = column(x, k)
            y_a, z_a, c_a = (_at(m, k, atoms) for m in (y, z, c))
            found, r = _pick(atoms, x_a, y_a, z_a, c_a, total[j], squares[j], f.shape[0])
            if r > best[j] + GAIN:
                best[j], rules[j] = r, Rule((kept[k].slots[0], s), (kept[k].values[0], found))


def _pick(atoms, x, y, z, count, total, squares, n) -> tuple[dict[int, float], float]:
    """The shortest list of values whose rule is within GAIN of the best one of ATOMS values, and its correlation.

    x, y, z: per value, the sums of p f, p^2 and p under the rule so far (p = 1 before the first slot: x is then
    the summed activation, y = z the count). Least squares gives each value the weight x / y.
    """
    keep = (count >= SUPPORT) & (x > 0)
    atoms, x, y, z = atoms[keep], x[keep], y[keep], z[keep]
    if not len(atoms):
        return {}, -1.0
    order = np.argsort(-(x * x / y), kind="stable")[:ATOMS]
    weight = x[order] / y[order]
    q = np.cumsum(weight * x[order])
    t = np.cumsum(weight * z[order])
    spread = (n * q - t * t) * (n * squares - total * total)
    r = np.where(spread > 0, (n * q - t * total) / np.sqrt(np.maximum(spread, 1e-300)), -1.0)
    size = int(np.argmax(r >= r.max() - GAIN)) + 1
    return {int(a): float(w) for a, w in zip(atoms[order][:size], weight, strict=False)}, float(r[size - 1])


def simulate(rules: list[Rule], table: np.ndarray) -> sparse.csr_matrix:
    """What the rules say of tokens with these `slots`: predicted activations (tokens, rules).

    >>> rule = Rule((0, 2), ({7: 3.0}, {1: 0.5}))
    >>> simulate([rule], np.array([[7, 7, 8], [0, 0, 0], [1, 2, 1], [0, 0, 0], [0, 0, 0]])).toarray().ravel().tolist()
    [1.5, 0.0, 0.0]
    """
    out = None
    for step in (0, 1):
        part = sparse.csr_matrix((table.shape[1], len(rules)))
        plain = np.array([j for j, rule in enumerate(rules) if len(rule.slots) == 1], dtype=int) if step else []
        for s, hot in enumerate(map(one_hot, table)):
            entries = [(a, j, w) for j, rule in enumerate(rules) if len(rule.slots) > step and rule.slots[step] == s
                       for a, w in rule.values[step].items() if a < hot.shape[1]]
            if entries:
                a, j, w = zip(*entries, strict=True)
                part = part + hot @ sparse.csr_matrix((w, (a, j)), (hot.shape[1], len(rules)))
        if step:
            mask = np.zeros(len(rules))
            mask[plain] = 1
            out = sparse.csr_matrix(out.multiply(part) + out @ sparse.diags(mask))
        else:
            out = part
    return out


def sentence(rule: Rule, text) -> str:
    """A rule in words; text(id) gives a token's text, quoted. Values stand strongest first.

    >>> sentence(Rule((1, 2), ({6: 2.0}, {3: 1.0})), lambda token: "`def`")
    'an opening bracket after `def`'
    """
    if not rule.slots:
        return "no rule found"
    parts = {}
    for slot, values in zip(rule.slots, rule.values, strict=True):
        ranked = sorted(values, key=values.get, reverse=True)
        names = [CLASSES[a] if slot in (1, 3) else "the start of the text" if not a else text(a) for a in ranked]
        names = list(dict.fromkeys(names))
        parts[slot] = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
    here = [parts[slot] for slot in (0, 1) if slot in parts]
    after = [parts[slot] for slot in (2, 3) if slot in parts]
    words = " that is ".join(here) or "any token"
    words += f" after {' that is '.join(after)}" if after else ""
    return words + (f" with {parts[4]} two tokens before" if 4 in parts else "")


def sums(m) -> np.ndarray:
    return np.asarray(m.sum(axis=0), dtype=np.float64).ravel()


def one_hot(column: np.ndarray) -> sparse.csr_matrix:
    n = len(column)
    return sparse.csr_matrix((np.ones(n), column, np.arange(n + 1)), (n, int(column.max(initial=-1)) + 1))


def column(m: sparse.csc_matrix, j: int):
    part = slice(m.indptr[j], m.indptr[j + 1])
    return m.indices[part], m.data[part]


def _at(m: sparse.csc_matrix, j: int, rows: np.ndarray) -> np.ndarray:
    """Values of column j at `rows`, 0 where none is stored."""
    where, values = column(m, j)
    dense = np.zeros(m.shape[0])
    dense[where] = values
    return dense[rows]
