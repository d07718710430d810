"""Questions to a language model behind an OpenAI-compatible endpoint: concurrent, retried, cached on disk.

    OPENAI_BASE_URL      the endpoint (hosted, vLLM, Ollama, llama.cpp ...), e.g. http://localhost:11434/v1
    UNIFEAT_LLM_MODEL    the model's name there
    OPENAI_API_KEY       the key, if the endpoint asks for one
    UNIFEAT_LLM_PRICE    optional: US dollars per million tokens "in,out", for the estimate
    UNIFEAT_LLM_BUDGET   optional: dollars (or, without a price, tokens) above which nothing is sent

The key is read where the client is made and stands in no cache entry, message or representation.
Tried with `transformers serve` 5.23, which gives no log-probabilities: a simulated value is then the digit itself.
"""

import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from unifeat.autointerp import refusals
from unifeat.support import store
from unifeat.support.errors import UnifeatError

PERMANENT = (400, 401, 402, 403, 404, 405, 413, 422)


class LlmError(UnifeatError):
    """The endpoint is not configured, refuses the request, or is gone; answers so far are in the cache."""


@dataclass(frozen=True)
class Settings:
    """Where and how to ask; the key is not part of it."""

    model: str
    url: str | None = None
    price: tuple[float, float] | None = None  # dollars per million tokens in, out
    budget: float | None = None
    concurrency: int = 8
    timeout: float = 60.0  # seconds per request
    attempts: int = 5
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one
    longest: float = 60.0  # seconds that one pause may take, whatever the server asks for
    clock: object = field(default=time.sleep, repr=False, compare=False)


@dataclass(frozen=True)
class Reply:
    """An answer: text ("" for a refusal), why it ended, and per token its text and {candidate: log-probability}.

    tokens is empty where the endpoint gives no log-probabilities.
    """

    text: str
    refused: bool = False
    finish: str = ""
    tokens: tuple = ()


def settings() -> Settings:
    """Settings from the environment.

    Raises:
        LlmError: no model is named, or a number cannot be read.
    """
    model = os.environ.get("UNIFEAT_LLM_MODEL", "").strip()
    if not model:
        raise LlmError("UNIFEAT_LLM_MODEL is not set; name the model to ask (and OPENAI_BASE_URL, OPENAI_API_KEY of "
                       "its endpoint), or use EXPLAINER=lexical, which needs none.")
    try:
        price = os.environ.get("UNIFEAT_LLM_PRICE", "").strip()
        price = tuple(float(part) for part in price.split(",")) if price else None
        if price and len(price) != 2:
            raise ValueError
        budget = os.environ.get("UNIFEAT_LLM_BUDGET", "").strip()
        budget = float(budget) if budget else None
    except ValueError:
        raise LlmError("UNIFEAT_LLM_PRICE must be two numbers, dollars per million tokens in and out such as 2.5,10, "
                       "and UNIFEAT_LLM_BUDGET one.") from None
    return Settings(model, os.environ.get("OPENAI_BASE_URL") or None, price, budget)


def cached(prompt: list[dict], options: dict, config: Settings, cache: Path) -> Path:
    """The cache file of a prompt: its name is the hash of prompt, options and model."""
    return cache / f"{store.digest(prompt, options, config.model)}.json"


def lookup(prompt: list[dict], options: dict, config: Settings, cache: Path) -> Reply | None:
    """The cached reply to a prompt, if there is one."""
    return _read(cached(prompt, options, config, cache))


def estimate(prompts: list[list[dict]], options: dict, config: Settings, cache: Path) -> dict:
    """What asking would cost: requests and tokens still to be paid for, and dollars where a price is known.

    Tokens are counted as a quarter of the characters, the usual rule of thumb; output as its maximum.
    """
    left = [p for p in prompts if _read(cached(p, options, config, cache)) is None]
    tokens = sum(len(message["content"]) for p in left for message in p) // 4
    out = len(left) * options.get("max_tokens", 0)
    dollars = (tokens * config.price[0] + out * config.price[1]) / 1e6 if config.price else None
    return dict(requests=len(left), cached=len(prompts) - len(left), tokens_in=tokens, tokens_out=out, dollars=dollars)


def announce(costs: list[dict], config: Settings) -> None:
    """Prints the sum of the estimates; raises LlmError if it is above the budget."""
    cost = {key: sum(one[key] or 0 for one in costs) for key in ("requests", "cached", "tokens_in", "tokens_out")}
    cost["dollars"] = sum(one["dollars"] for one in costs) if config.price else None
    price = "no price given" if cost["dollars"] is None else f"about ${cost['dollars']:.2f}"
    print(f"{config.model}: {cost['requests']:,} requests ({cost['cached']:,} more are cached), about "
          f"{cost['tokens_in']:,} tokens in and at most {cost['tokens_out']:,} out, {price}.", flush=True)
    total = cost["tokens_in"] + cost["tokens_out"] if cost["dollars"] is None else cost["dollars"]
    if config.budget is not None and total > config.budget:
        raise LlmError(f"The estimate of {total:,.2f} is above UNIFEAT_LLM_BUDGET={config.budget:g}; raise it or "
                       "explain fewer features.")


def ask(prompts: list[list[dict]], config: Settings, cache: Path, announced: bool = False, **options) -> list[Reply]:
    """Replies to chat prompts, in order; what is in the cache is not asked again.

    announced: the caller has shown the estimate and checked the budget.
    options: request fields such as max_tokens, temperature, logprobs, top_logprobs.

    Raises:
        LlmError: the endpoint refuses the key, the model or the request, or keeps failing. What was answered until
            then is in the cache, so that the same call continues.
    """
    if not announced:
        announce([estimate(prompts, options, config, cache)], config)
    found = [_read(cached(p, options, config, cache)) for p in prompts]
    missing = [i for i, reply in enumerate(found) if reply is None]
    if not missing:
        return found
    client, stop, taken = _client(config), threading.Event(), [dict(options)]

    def one(i):
        try:
            return _answer(client, prompts[i], config, cache, options, taken, stop)
        except LlmError:
            stop.set()  # before this thread takes the next prompt
            raise

    failure = None
    with ThreadPoolExecutor(config.concurrency) as pool:
        jobs = [(i, pool.submit(one, i)) for i in missing]
        for i, job in jobs:
            try:
                found[i] = job.result()
            except LlmError as error:
                failure = failure or error
    if failure:
        done = sum(_read(cached(p, options, config, cache)) is not None for p in prompts)
        raise LlmError(f"{failure} {done} of {len(prompts)} answers are kept; run the same command again and it asks "
                       "only for the others.")
    _tell_empty([found[i] for i in missing], config)
    return found


def _tell_empty(replies: list[Reply], config: Settings) -> None:
    if empty := sum(not reply.text and not reply.refused for reply in replies):
        print(f"{config.model}: {empty} of {len(replies)} answers are empty and are not kept; a model that thinks may "
              "spend all its tokens on it, so switch its thinking off or name another.", flush=True)


def _client(config: Settings):
    try:
        from openai import OpenAI
    except ImportError:
        raise LlmError("The openai package is not installed; `pip install openai`, or use EXPLAINER=lexical.") from None
    import httpx  # comes with openai

    try:
        return OpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none", base_url=config.url, timeout=config.timeout,
                      max_retries=0)
    except ImportError:  # of socksio
        raise LlmError("The proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is a SOCKS proxy, which needs a package; "
                       "`pip install socksio`, or unset the variable.") from None
    except (ValueError, httpx.InvalidURL):
        raise LlmError("OPENAI_BASE_URL, or the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY, is no address that can "
                       "be used; correct or unset it.") from None


def _answer(client, prompt, config, cache, options, taken, stop) -> Reply | None:
    """One reply, with retries; written to the cache as soon as it is there.

    taken: a list of one, the request fields that the endpoint takes, as far as known; all prompts of a call share it.
    """
    import openai

    reason, asked, path = "", 0, cached(prompt, options, config, cache)
    while asked < config.attempts:
        if stop.is_set():
            return None
        sent, wait = dict(taken[0]), config.pause * 2**asked * (1 + 0.25 * random.random())  # apart from the others
        try:
            found = client.chat.completions.create(model=config.model, messages=prompt, **sent)
            return _kept(_parse(found), path, config)
        except openai.APITimeoutError:
            reason = f"gave no answer within {config.timeout:g} s"
        except openai.APIConnectionError:
            reason = "cannot be reached"
        except (openai.APIStatusError, refusals.ErrorBody) as error:
            if refusals.filtered(error):
                return _kept(Reply("", True, "content_filter"), path, config)
            if (fewer := _fewer(error, sent)) is not None:
                taken[0] = fewer  # other threads see the old fields or the new, never a mixture
                continue
            status = getattr(error, "status_code", 200)
            if status in PERMANENT or refusals.unpaid(error):
                raise LlmError(_refusal(error, status, config)) from None
            words = refusals.said(error)
            reason = f"answers with status {status}" + (f" ({words})" if words else "")
            wait = max(wait, _seconds(error.response.headers.get("retry-after")) if status != 200 else 0)
        except (openai.APIError, ValueError, TypeError, AttributeError, KeyError, IndexError):
            reason = "sends what is not a chat completion"
        asked += 1
        if asked < config.attempts:
            config.clock(min(wait, config.longest))
    raise LlmError(f"The endpoint {_place(config)} {reason}, {config.attempts} times in a row.")


def _kept(reply: Reply, path: Path, config: Settings) -> Reply:
    """The reply, written to the cache unless it is empty: another try may say something."""
    if reply.text or reply.refused:
        store.write_text(path, json.dumps(dict(model=config.model, text=reply.text, refused=reply.refused,
                                               finish=reply.finish, tokens=reply.tokens)) + "\n")
    return reply


def _fewer(error, sent: dict) -> dict | None:
    """The request fields without one that the endpoint does not take; None where that is not why it refuses."""
    if getattr(error, "status_code", 200) not in (200, 400, 422):
        return None
    fewer = refusals.without(error, sent)
    if fewer is None and sent.get("logprobs") and hasattr(error, "status_code"):  # some do not say what they refuse
        fewer = {key: value for key, value in sent.items() if key not in ("logprobs", "top_logprobs")}
    return fewer


def _refusal(error, status: int, config: Settings) -> str:
    """Why nothing will come, in the endpoint's words where ours say little, and never with the key in them."""
    words = refusals.said(error)
    causes = {401: "does not accept OPENAI_API_KEY", 403: "does not allow this key to use the model",
              404: f"knows no model {config.model!r} (or no chat completions at this address)"}
    cause = "wants credit on the account of this key" if status == 402 or refusals.unpaid(error) else (
        causes.get(status, "rejects the request"))
    return f"The endpoint {_place(config)} {cause} (status {status})" + (
        f": {words}." if words and status not in causes else ".")


def _place(config: Settings) -> str:
    """The endpoint without user name, password or query: they may hold a key."""
    from urllib.parse import urlsplit

    parts = urlsplit(config.url or "https://api.openai.com/v1")
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _seconds(value) -> float:
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return 0.0


def _parse(completion) -> Reply:
    if body := getattr(completion, "error", None):
        raise refusals.ErrorBody(body)
    choice = completion.choices[0]
    text, refusal = choice.message.content, getattr(choice.message, "refusal", None)
    if refusal or choice.finish_reason == "content_filter":
        return Reply("", True, choice.finish_reason or "")
    if text is None and choice.finish_reason == "length":
        text = ""
    if not isinstance(text, str):
        raise ValueError("no text")
    listed = (choice.logprobs.content if choice.logprobs else None) or []
    tokens = tuple((one.token, {top.token: top.logprob for top in one.top_logprobs or []}) for one in listed)
    said = refusals.answer(text)
    return Reply(said, False, choice.finish_reason or "", tokens if said == text else refusals.spoken(tokens))


def _read(path: Path) -> Reply | None:
    """A cached reply; None where there is none or it cannot be read (it is then asked for again)."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        if not entry["text"] and not entry["refused"]:
            return None
        return Reply(entry["text"], entry["refused"], entry["finish"],
                     tuple((token, candidates) for token, candidates in entry["tokens"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
