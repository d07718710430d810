"""The endpoint refuses a prompt, a field, the account, or answers with nothing."""

import json
import threading

import pytest

from tests.autointerp.endpoint import Server, ask_for, completion
from unifeat.autointerp import client, refusals

OPTIONS = dict(max_tokens=5, temperature=0)


def refusal(status, message, **more):
    return status, {}, json.dumps(dict(error=dict(message=message, **more)))


def asked(tmp_path, script, *texts):
    server = Server(script)
    config = client.Settings("m", f"http://127.0.0.1:{server.server_port}/v1", concurrency=1, clock=lambda _: None)
    try:
        return client.ask(ask_for(*texts), config, tmp_path, **OPTIONS), server
    finally:
        threading.Thread(target=server.shutdown).start()


@pytest.mark.parametrize("said, kept", [("<think>a\nb</think>\n\nverbs", "verbs"), ("a</think> verbs", "verbs"),
                                        ("<think>never done", ""), ("a < b", "a < b"), ("<b> tags", "<b> tags"),
                                        ("opens <think> tags", "opens <think> tags")])
def test_thoughts_are_no_explanation(said, kept):
    assert refusals.answer(said) == kept


def test_tokens_of_thoughts_go_with_them():
    assert refusals.spoken((("<think>", {}), ("x", {}), ("</think>", {}), ("7", {"7": 0.0}))) == (("7", {"7": 0.0}),)


def test_an_empty_answer_is_asked_for_again(tmp_path, capsys):
    found, _ = asked(tmp_path, lambda *_: completion("", finish="length"), "a")
    assert found[0].text == "" and "1 of 1 answers are empty" in capsys.readouterr().out
    found, server = asked(tmp_path, lambda *_: completion("verbs"), "a")
    assert found[0].text == "verbs" and len(server.requests) == 1


def test_fields_that_a_model_refuses_are_left_out_once(tmp_path):
    def script(_, body):
        for key in ("max_tokens", "temperature"):
            if key in body:
                return refusal(400, f"Unsupported parameter: '{key}'", param=key)
        return completion("verbs")

    found, server = asked(tmp_path, script, "a", "b")
    assert [one.text for one in found] == ["verbs"] * 2 and len(server.requests) == 4
    assert server.requests[-1][0]["max_completion_tokens"] == 5


def test_one_filtered_prompt_is_one_refusal(tmp_path):
    def script(_, body):
        bad = body["messages"][0]["content"] == "bad"
        return refusal(400, "filtered", code="content_filter") if bad else completion("verbs")

    found, _ = asked(tmp_path, script, "bad", "good")
    assert [one.refused for one in found] == [True, False]
    assert asked(tmp_path, None, "bad", "good")[0] == found  # from the cache


@pytest.mark.parametrize("status, message, more", [(429, "You exceeded your current quota", {}), (402, "Pay", {}),
                                                   (200, "No credit", dict(code="insufficient_quota"))])
def test_no_credit_is_said_at_once(tmp_path, status, message, more):
    calls = []
    with pytest.raises(client.LlmError, match=f"credit.*{message}"):
        asked(tmp_path, lambda *_: calls.append(1) or refusal(status, message, **more), "a")
    assert len(calls) == 1


def test_an_error_in_the_body_is_shown(tmp_path):
    with pytest.raises(client.LlmError, match="status 200 .overloaded., 5 times"):
        asked(tmp_path, lambda *_: refusal(200, "overloaded"), "a")


@pytest.mark.parametrize("proxy, said", [("socks5://127.0.0.1:1", "SOCKS proxy|cannot be reached"),
                                         ("gopher://127.0.0.1:1", "no address that can be used")])
def test_a_proxy_that_cannot_be_used_is_a_sentence(tmp_path, monkeypatch, proxy, said):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(client.LlmError, match=said):
        client.ask(ask_for("a"), client.Settings("m", "http://127.0.0.1:9/v1", attempts=1), tmp_path)
