"""Questions to an endpoint: cached, retried where that helps, refused in one sentence where it does not."""

import json
import time

import pytest
from endpoint import KEY, ask_for, completion

from unifeat.autointerp import client


def test_replies_come_in_order_and_a_second_run_costs_nothing(serve, tmp_path, capsys):
    server, config, _ = serve(lambda _, body: completion(body["messages"][0]["content"].upper()))
    first = client.ask(ask_for("a", "b", "c"), config, tmp_path, max_tokens=5)
    assert [reply.text for reply in first] == ["A", "B", "C"]
    assert client.ask(ask_for("a", "b", "c"), config, tmp_path, max_tokens=5) == first and len(server.requests) == 3
    assert "0 requests (3 more are cached)" in capsys.readouterr().out
    client.ask(ask_for("a"), config, tmp_path, temperature=0)  # another option, another model: another question
    client.ask(ask_for("a"), client.Settings("other", config.url), tmp_path)
    assert len(server.requests) == 5


def test_a_damaged_cache_entry_is_asked_for_again(serve, tmp_path):
    server, config, _ = serve(lambda *_: completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    next(tmp_path.glob("*.json")).write_text('{"text": "x"')
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x" and len(server.requests) == 2


# What passes, and what does not -------------------------------------------------------------------------------

BODIES = ['{"choices": [', "<html>busy</html>", "{}", '{"choices": []}', "[]", "null",
          '{"choices": [{"message": {"content": null}}]}']
TROUBLES = {"busy": ((429, {"retry-after": "7"}, "{}"), "answers with status 429"),
            "down": ((503, {}, "{}"), "answers with status 503"),
            "cut": (None, "cannot be reached"),
            **{body: ((200, {}, body), "sends what is not a chat completion") for body in BODIES}}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_that_passes_is_waited_out_and_other_trouble_is_named(serve, tmp_path, trouble):
    answer, words = TROUBLES[trouble]
    server, config, waits = serve(lambda n, _: answer if n <= 2 else completion("x"))
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x"
    assert len(server.requests) == 3 and len(waits) == 2 and (trouble != "busy" or all(7 <= one < 8 for one in waits))
    server.script = lambda *_: answer
    with pytest.raises(client.LlmError, match=f"{words}, 5 times in a row. 0 of 1 answers are kept") as caught:
        client.ask(ask_for("b"), config, tmp_path)
    assert "\n" not in str(caught.value) and KEY not in str(caught.value)
    assert trouble == "busy" or all(b > 1.5 * a for a, b in zip(waits[2:], waits[3:], strict=False)), "pauses grow"


def test_an_absurd_retry_after_is_cut(serve, tmp_path):
    _, config, waits = serve(lambda n, _: (429, {"retry-after": "86400"}, "{}") if n == 1 else completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    assert waits == [60.0]


def test_a_timeout_is_retried(serve, tmp_path):
    server, config, _ = serve(lambda n, _: (time.sleep(0.6 * (n == 1)), completion("x"))[1], timeout=0.25)
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x" and len(server.requests) == 2


@pytest.mark.parametrize("status, words", [(401, "does not accept OPENAI_API_KEY"), (404, "knows no model 'tiny'"),
                                           (403, "does not allow"), (400, "rejects the request .status 400.: bad key")])
def test_permanent_errors_are_not_retried(serve, tmp_path, status, words):
    server, config, _ = serve(lambda *_: (status, {}, json.dumps(dict(error=dict(message=f"bad key {KEY}")))),
                              concurrency=1)
    with pytest.raises(client.LlmError, match=words) as caught:
        client.ask(ask_for("a", "b", "c"), config, tmp_path)
    assert len(server.requests) == 1 and KEY not in str(caught.value)


def test_an_endpoint_that_rejects_log_probabilities_is_asked_without(serve, tmp_path):
    server, config, waits = serve(lambda _, body: (400, {}, "{}") if "logprobs" in body or "top_logprobs" in body
                                  else completion("x"))
    assert client.ask(ask_for("a"), config, tmp_path, logprobs=True, top_logprobs=3, temperature=0)[0].text == "x"
    assert len(server.requests) == 2 and server.requests[1][0]["temperature"] == 0 and not waits


def test_a_refusal_is_kept_as_one(serve, tmp_path):
    server, config, _ = serve(lambda n, _: completion(None, refusal="no") if n == 1
                              else completion("", finish="content_filter"), concurrency=1)
    replies = client.ask(ask_for("a", "b"), config, tmp_path)
    assert all(reply.refused for reply in replies)
    assert client.ask(ask_for("a", "b"), config, tmp_path) == replies and len(server.requests) == 2


def test_a_server_gone_halfway_loses_nothing(serve, tmp_path):
    server, config, _ = serve(lambda n, body: completion(body["messages"][0]["content"]) if n <= 3 else None,
                              concurrency=1, attempts=2)
    with pytest.raises(client.LlmError, match="cannot be reached, 2 times in a row. 3 of 6 answers are kept"):
        client.ask(ask_for(*"abcdef"), config, tmp_path)
    server, config, _ = serve(lambda _, body: completion(body["messages"][0]["content"]), attempts=2)
    assert [reply.text for reply in client.ask(ask_for(*"abcdef"), config, tmp_path)] == list("abcdef")
    assert len(server.requests) == 3
    server.shutdown()
    server.server_close()  # nobody listens any more
    with pytest.raises(client.LlmError, match="cannot be reached"):
        client.ask(ask_for("g"), config, tmp_path)


def test_no_more_requests_at_once_than_allowed(serve, tmp_path):
    server, config, _ = serve(lambda *_: (time.sleep(0.05), completion("x"))[1], concurrency=3)
    client.ask(ask_for(*"abcdefghi"), config, tmp_path)
    assert 1 < server.peak <= 3


# Keys and costs -----------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_written(serve, tmp_path, capsys):
    server, config, _ = serve(lambda *_: completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    assert KEY in str(server.requests[0][1])
    shown = repr(config) + "".join(capsys.readouterr())
    assert KEY not in shown + "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    place = client._place(client.Settings("m", "https://user:pa55@host.example:8000/v1?key=k3y"))
    assert place == "https://host.example:8000/v1"


def test_estimate_and_budget_come_before_any_request(serve, tmp_path, capsys):
    server, config, _ = serve(lambda *_: completion("x"), price=(2.0, 8.0), budget=0.001)
    with pytest.raises(client.LlmError, match="above UNIFEAT_LLM_BUDGET=0.001"):
        client.ask(ask_for("a" * 4000), config, tmp_path, max_tokens=100)
    assert not server.requests
    assert client.estimate(ask_for("a" * 4000), dict(max_tokens=100), config, tmp_path) == dict(
        requests=1, cached=0, tokens_in=1000, tokens_out=100, dollars=pytest.approx(0.0028))
    assert "about $0.00" in capsys.readouterr().out


def test_settings_name_what_is_missing(monkeypatch):
    with pytest.raises(client.LlmError, match="UNIFEAT_LLM_MODEL is not set"):
        client.settings()
    monkeypatch.setenv("UNIFEAT_LLM_MODEL", "m")
    monkeypatch.setenv("UNIFEAT_LLM_PRICE", "cheap")
    with pytest.raises(client.LlmError, match="two numbers"):
        client.settings()
    monkeypatch.setenv("UNIFEAT_LLM_PRICE", "2.5,10")
    assert client.settings().price == (2.5, 10.0)
