"""The `llm` explainer: prompts for explaining, simulating and detecting a feature, and how answers are read.

Explaining and simulating follow Bills et al. 2023, "Language models can explain neurons in language models": the
explainer sees contexts with activations on a scale of 0 to 9, the simulator sees the explanation and bare tokens, and a
token's simulated activation is the expected digit. Detecting follows Paulo et al. 2024 (arXiv 2410.13928): the model
sees the explanation and numbered excerpts, and answers with a list of 0 and 1. The words are ours. Contexts come from
quantiles of activation, the strongest one always among them.
"""

import json
import math
import re

import numpy as np

from unifeat.autointerp.client import Reply

SCALE = 9
EXPLAIN = ("You study one feature of a small language model that reads {domains}. Each line of an "
           "excerpt is a token and, after a tab, how strongly the feature responds to it, from 0 (silent) to 9. The "
           "model reads from left to right: what follows a token cannot matter. Say in one short phrase what the "
           "feature responds to. Give only the phrase.")
SIMULATE = ("A feature of a small language model responds to: {explanation}\nBelow are numbered tokens of an excerpt, "
            "read from left to right. For each say how strongly the feature responds, as one digit from 0 (silent, the "
            "usual case) to 9. Answer with one line per token, `number: digit`, and nothing else.")
DETECT = ("A feature of a small language model responds to: {explanation}\nBelow are {count} numbered excerpts. For "
          "each say whether the feature responds anywhere in it: 1 if it does, 0 if not. Answer with one list of "
          "{count} digits in the order of the excerpts, such as [0, 1, 0], and nothing else.")


def digits(activations: np.ndarray, peak: float) -> np.ndarray:
    """Activations on the 0-9 scale, the peak at 9; what fires is never rounded down to 0.

    >>> digits(np.array([0.0, 0.01, 5.0, 10.0]), 10.0).tolist()
    [0, 1, 4, 9]
    """
    share = np.clip(np.asarray(activations, float) / peak, 0, 1) if peak > 0 else np.zeros(len(activations))
    return np.where(share > 0, np.maximum(1, np.ceil(share * SCALE - 0.5)), 0).astype(int)


def quantile_rows(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` of the values, evenly spaced over their ranks, the strongest first and always included.

    >>> quantile_rows(np.array([1.0, 9.0, 5.0, 3.0, 7.0]), 3).tolist()
    [1, 2, 0]
    """
    order = np.argsort(-np.asarray(values), kind="stable")
    at = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return order[at]


def explain(contexts: list[tuple[list[str], np.ndarray]], domains: str) -> list[dict]:
    """Chat messages that ask for an explanation; domains: what the model reads, in words; contexts: (token texts,
    activations), strongest context first."""
    peak = max((float(np.max(activations)) for _, activations in contexts), default=0.0)
    parts = []
    for number, (tokens, activations) in enumerate(contexts, 1):
        lines = [f"{_visible(token)}\t{digit}" for token, digit in zip(tokens, digits(activations, peak), strict=True)]
        parts.append(f"Excerpt {number}\n" + "\n".join(lines))
    return [dict(role="system", content=EXPLAIN.format(domains=domains)), dict(role="user", content="\n\n".join(parts))]


def simulate(explanation: str, tokens: list[str]) -> list[dict]:
    """Chat messages that ask for the simulated activations of `tokens`."""
    lines = [f"{number}: {_visible(token)}" for number, token in enumerate(tokens)]
    return [dict(role="system", content=SIMULATE.format(explanation=explanation)),
            dict(role="user", content="\n".join(lines))]


def detect(explanation: str, excerpts: list[list[str]]) -> list[dict]:
    """Chat messages that ask in which of the excerpts (token texts) the feature responds."""
    lines = [f"{number}: {_visible(''.join(tokens))}" for number, tokens in enumerate(excerpts, 1)]
    return [dict(role="system", content=DETECT.format(explanation=explanation, count=len(excerpts))),
            dict(role="user", content="\n".join(lines))]


def read_explanation(reply: Reply) -> str:
    """The phrase of a reply, on one line; "" for a refusal."""
    return "" if reply.refused else " ".join(reply.text.split()).strip("\"' ")[:400]


def read_simulation(reply: Reply, count: int) -> np.ndarray | None:
    """Simulated activations (count,) on the 0-9 scale, or None where fewer than half the lines can be read.

    With log-probabilities, a token's value is the expectation over the digits offered at its place; without them it
    is the digit itself. Lines that are missing count as 0, the usual case.
    """
    if reply.refused:
        return None
    out, seen = np.zeros(count), set()
    ends = np.cumsum([len(token) for token, _ in reply.tokens]) if reply.tokens else None
    aligned = reply.tokens and "".join(token for token, _ in reply.tokens) == reply.text
    for line in re.finditer(r"^[ \t]*(\d+)[ \t]*:[ \t]*(\d)\b", reply.text, re.MULTILINE):
        number = int(line[1])
        if number >= count or number in seen:
            continue
        seen.add(number)
        out[number] = int(line[2])
        if aligned:
            token, offered = reply.tokens[int(np.searchsorted(ends, line.start(2), side="right"))]
            if token.strip() == line[2] and (value := expected(offered)) is not None:
                out[number] = value
    return out if 2 * len(seen) >= count else None


def read_detection(reply: Reply, count: int) -> np.ndarray | None:
    """Answers (count,) as bool, or None unless the reply holds exactly one list, of `count` digits 0 or 1.

    >>> read_detection(Reply("[1, 0, 1]"), 3).tolist(), read_detection(Reply("[1, 0]"), 3)
    ([True, False, True], None)
    """
    found = re.findall(r"\[[^\[\]]*\]", reply.text)
    if reply.refused or len(found) != 1 or not re.fullmatch(r"\[\s*[01](\s*,\s*[01])*\s*\]", found[0]):
        return None
    said = np.array(json.loads(found[0]), dtype=bool)
    return said if len(said) == count else None


def expected(offered: dict[str, float]) -> float | None:
    """Expected digit under log-probabilities of candidates, normalized over those that are digits.

    >>> round(expected({"0": math.log(0.5), "8": math.log(0.25), "the": math.log(0.25)}), 6)
    2.666667
    """
    weights = {int(text): 0.0 for text in map(str.strip, offered) if re.fullmatch(r"[0-9]", text)}
    for text, value in offered.items():
        if re.fullmatch(r"[0-9]", text.strip()):
            weights[int(text.strip())] += math.exp(value)
    total = sum(weights.values())
    return sum(digit * weight for digit, weight in weights.items()) / total if total > 0 else None


def plain(token: str | bytes) -> str:
    r"""A token as text; bytes that are part of a character as \\xNN."""
    return token if isinstance(token, str) else "".join(f"\\x{byte:02x}" for byte in token)


def _visible(token: str) -> str:
    return token.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
