"""How endpoints refuse: a prompt, a request field, a key without credit; and what they say about it."""

import os
import re

FIELDS = ("max_tokens", "temperature", "logprobs", "top_logprobs")
FILTERED = ("content_filter", "content_policy", "responsibleai", "content management policy")
UNPAID = ("insufficient_quota", "billing", "exceeded your current quota", "insufficient credits",
          "insufficient balance", "payment required")


class ErrorBody(Exception):
    """Status 200 whose body is an error."""

    def __init__(self, body):
        super().__init__("status 200 with an error in the body")
        self.body = body if isinstance(body, dict) else dict(message=str(body))


def said(error) -> str:
    """The endpoint's own words on one line, at most 200 characters, without control characters or the key."""
    body = _body(error)
    text = str(body.get("message") or body.get("detail") or "")
    if key := os.environ.get("OPENAI_API_KEY"):
        text = text.replace(key, "...")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200].rstrip(".")


def filtered(error) -> bool:
    """Whether a filter refuses this one prompt; others may pass."""
    return any(word in _words(error) for word in FILTERED)


def unpaid(error) -> bool:
    """Whether the account has no credit: asking again does not help."""
    return any(word in _words(error) for word in UNPAID)


def without(error, sent: dict) -> dict | None:
    """The request fields less the one that the endpoint names; None where it names none of ours.

    max_tokens becomes max_completion_tokens, its name for models that think.
    """
    text = " ".join((str(_body(error).get("param") or ""), _words(error)))
    named = [key for key in FIELDS if key in sent and re.search(rf"\b{key}\b", text)]
    if not named:
        return None
    left = {key: value for key, value in sent.items() if key != named[0]}
    if named[0] == "max_tokens":
        left["max_completion_tokens"] = sent["max_tokens"]
    if named[0] == "logprobs":
        left.pop("top_logprobs", None)
    return left


def answer(text: str) -> str:
    """What follows a model's thoughts: <think>...</think> is left out, also unopened or unfinished."""
    return re.sub(r"<think(?:ing)?>.*", "", _after(text), flags=re.DOTALL).strip() if _thinks(text) else text


def spoken(tokens: tuple) -> tuple:
    """The tokens after a model's thoughts."""
    text, start = "", 0
    for i, (token, _) in enumerate(tokens):
        text += token
        if re.search(r"</think(?:ing)?>\s*$", text):
            start = i + 1
    return tokens[start:]


def _thinks(text: str) -> bool:
    return bool(re.match(r"\s*<think(?:ing)?>", text)) or "</think>" in text or "</thinking>" in text


def _after(text: str) -> str:
    return re.split(r"</think(?:ing)?>", text)[-1]


def _body(error) -> dict:
    body = getattr(error, "body", None)
    body = body if isinstance(body, dict) else dict(message=body) if isinstance(body, str) else {}
    return body["error"] if isinstance(body.get("error"), dict) else body


def _words(error) -> str:
    return str(_body(error)).lower()
