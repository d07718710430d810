"""The endpoint client against a real HTTP server on loopback that speaks the protocol, and misbehaves on request."""

import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from unifeat.autointerp import client, prompts

KEY = "sk-very-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Answers chat completions with `script(number of the request, body)`: (status, headers, body) or a dict."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests, self.lock, self.busy, self.peak = script, [], threading.Lock(), 0, 0
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append((body, dict(self.headers)))
            number = len(self.server.requests)
            self.server.busy += 1
            self.server.peak = max(self.server.peak, self.server.busy)
        found = self.server.script(number, body)
        with self.server.lock:
            self.server.busy -= 1
        if found is None:  # the server dies in the middle of a request
            self.close_connection = True
            self.connection.close()
            return
        status, headers, text = found if isinstance(found, tuple) else (200, {}, json.dumps(found))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def completion(text, refusal=None, finish="stop", logprobs=None):
    message = dict(role="assistant", content=text, refusal=refusal)
    return dict(id="x", object="chat.completion", created=0, model="tiny",
                choices=[dict(index=0, message=message, finish_reason=finish, logprobs=logprobs)])


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(script, **settings):
        pytest.importorskip("openai", reason="the openai package is not installed")
        servers.append(Server(script))
        url = f"http://127.0.0.1:{servers[-1].server_port}/v1"
        waits = []
        config = client.Settings("tiny", url, clock=waits.append, **dict(timeout=5.0, concurrency=2) | settings)
        return servers[-1], config, waits

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask_for(*texts):
    return [[dict(role="user", content=text)] for text in texts]


def test_replies_come_in_order_and_a_second_run_costs_nothing(serve, tmp_path, capsys):
    server, config, _ = serve(lambda _, body: completion(body["messages"][0]["content"].upper()))
    first = client.ask(ask_for("a", "b", "c"), config, tmp_path, max_tokens=5)
    assert [reply.text for reply in first] == ["A", "B", "C"]
    assert client.ask(ask_for("a", "b", "c"), config, tmp_path, max_tokens=5) == first
    assert len(server.requests) == 3
    assert "0 requests (3 more are cached)" in capsys.readouterr().out


def test_another_model_or_option_is_another_question(serve, tmp_path):
    server, config, _ = serve(lambda *_: completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    client.ask(ask_for("a"), config, tmp_path, temperature=0)
    client.ask(ask_for("a"), client.Settings("other", config.url), tmp_path)
    assert len(server.requests) == 3


def test_429_is_retried_after_the_time_the_server_asks_for(serve, tmp_path):
    busy = (429, {"retry-after": "7"}, "{}")
    server, config, waits = serve(lambda n, _: busy if n < 3 else completion("x"))
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x"
    assert len(server.requests) == 3 and len(waits) == 2 and all(7 <= wait < 8 for wait in waits)


def test_an_absurd_retry_after_is_cut(serve, tmp_path):
    _, config, waits = serve(lambda n, _: (429, {"retry-after": "86400"}, "{}") if n == 1 else completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    assert waits == [60.0]


def test_pauses_grow(serve, tmp_path):
    _, config, waits = serve(lambda *_: (503, {}, "{}"))
    with pytest.raises(client.LlmError, match="answers with status 503, 5 times in a row"):
        client.ask(ask_for("a"), config, tmp_path)
    assert len(waits) == 4 and all(b > 1.5 * a for a, b in zip(waits, waits[1:], strict=False))


def test_a_timeout_is_retried(serve, tmp_path):
    def slow_once(n, _):
        if n == 1:
            time.sleep(0.6)
        return completion("x")

    server, config, _ = serve(slow_once, timeout=0.25)
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x"
    assert len(server.requests) == 2


@pytest.mark.parametrize("body", ['{"choices": [', "<html>busy</html>", "{}", '{"choices": []}', "[]", "null",
                                  '{"choices": [{"message": {"content": null}}]}'])
def test_malformed_answers_are_retried_then_named(serve, tmp_path, body):
    _, config, _ = serve(lambda n, _: (200, {}, body) if n <= 2 else completion("x"))
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x"
    _, config, _ = serve(lambda *_: (200, {}, body), attempts=2)
    with pytest.raises(client.LlmError, match="sends what is not a chat completion, 2 times"):
        client.ask(ask_for("b"), config, tmp_path)


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
    assert all(reply.refused for reply in replies) and prompts.read_explanation(replies[0]) == ""
    assert prompts.read_simulation(replies[0], 3) is None
    assert client.ask(ask_for("a", "b"), config, tmp_path) == replies and len(server.requests) == 2


def test_a_server_gone_halfway_loses_nothing(serve, tmp_path):
    server, config, _ = serve(lambda n, body: completion(body["messages"][0]["content"]) if n <= 3 else None,
                              concurrency=1, attempts=2)
    with pytest.raises(client.LlmError, match="cannot be reached, 2 times in a row. 3 of 6 answers are kept") as caught:
        client.ask(ask_for(*"abcdef"), config, tmp_path)
    assert "\n" not in str(caught.value)
    server, config, _ = serve(lambda _, body: completion(body["messages"][0]["content"]))
    assert [reply.text for reply in client.ask(ask_for(*"abcdef"), config, tmp_path)] == list("abcdef")
    assert len(server.requests) == 3


def test_nobody_listens(serve, tmp_path):
    server, config, _ = serve(lambda *_: None, attempts=2)
    server.shutdown()
    server.server_close()
    with pytest.raises(client.LlmError, match="cannot be reached"):
        client.ask(ask_for("a"), config, tmp_path)


def test_no_more_requests_at_once_than_allowed(serve, tmp_path):
    def slow(*_):
        time.sleep(0.05)
        return completion("x")

    server, config, _ = serve(slow, concurrency=3)
    client.ask(ask_for(*"abcdefghi"), config, tmp_path)
    assert 1 < server.peak <= 3


def test_the_key_is_sent_and_never_written(serve, tmp_path, capsys):
    server, config, _ = serve(lambda *_: completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    assert server.requests[0][1]["authorization"] == f"Bearer {KEY}" or KEY in str(server.requests[0][1])
    shown = repr(config) + "".join(capsys.readouterr())
    assert KEY not in shown + "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_password_in_the_address_is_not_shown(tmp_path):
    place = client._place(client.Settings("m", "https://user:pa55@host.example:8000/v1?key=k3y"))
    assert place == "https://host.example:8000/v1"


def test_a_damaged_cache_entry_is_asked_for_again(serve, tmp_path):
    server, config, _ = serve(lambda *_: completion("x"))
    client.ask(ask_for("a"), config, tmp_path)
    next(tmp_path.glob("*.json")).write_text('{"text": "x"')
    assert client.ask(ask_for("a"), config, tmp_path)[0].text == "x" and len(server.requests) == 2


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


def test_simulation_is_the_expected_digit_where_log_probabilities_are_offered(serve, tmp_path):
    half = [dict(token="8", logprob=math.log(0.5), bytes=None, top_logprobs=[
        dict(token="8", logprob=math.log(0.5), bytes=None), dict(token="4", logprob=math.log(0.5), bytes=None)])]
    plain = [dict(token=token, logprob=0.0, bytes=None, top_logprobs=[]) for token in ("0", ": ")]
    last = [dict(token=token, logprob=0.0, bytes=None, top_logprobs=[]) for token in ("\n", "1", ": ", "2")]
    _, config, _ = serve(lambda *_: completion("0: 8\n1: 2", logprobs=dict(content=plain + half + last)))
    reply = client.ask(ask_for("a"), config, tmp_path, logprobs=True)[0]
    assert np.allclose(prompts.read_simulation(reply, 2), [6.0, 2.0])
    assert np.allclose(prompts.read_simulation(client.ask(ask_for("a"), config, tmp_path, logprobs=True)[0], 2), [6, 2])


def test_simulation_without_log_probabilities_and_with_chatter():
    assert prompts.read_simulation(client.Reply("Sure!\n0: 3\n 1 : 9\n7: 5\n1: 0"), 2).tolist() == [3, 9]
    assert prompts.read_simulation(client.Reply("0: 3"), 2).tolist() == [3, 0]
    assert prompts.read_simulation(client.Reply("I would say five."), 2) is None
    assert prompts.read_simulation(client.Reply("0: 3"), 9) is None


def test_examples_span_the_quantiles_and_hold_the_strongest():
    values = np.arange(100.0)
    chosen = values[prompts.quantile_rows(values, 5)]
    assert chosen.tolist() == [99, 74, 50, 25, 0] or chosen.tolist()[0] == 99 and len(chosen) == 5
    text = prompts.explain([(["a\n", "b"], np.array([0.0, 2.0]))])[1]["content"]
    assert text == "Excerpt 1\na\\n\t0\nb\t9"


# The whole path: features in, scores out ---------------------------------------------------------------------------

@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """A run of 16 documents of 32 tokens, ids 1-9; feature 0 fires on token 7, feature 1 on token 3, more strongly."""
    from types import SimpleNamespace

    from scipy import sparse

    from unifeat.autointerp import groups
    from unifeat.text import bpe

    blocks = np.random.default_rng(0).integers(4, 10, (16, 32))
    blocks[::4, 10], blocks[1::4, 4] = 3, 3
    blocks[2:4], blocks[10:12] = 5, 5  # documents where neither fires
    block, position = np.nonzero(blocks)
    probe = dict(blocks=blocks, block=block, position=position, document=block, domain=np.zeros(len(block), int))
    token = blocks[block, position]
    f = sparse.csr_matrix(np.stack([1.0 * (token == 7), 4.0 * (token == 3)], axis=1))
    monkeypatch.setattr(tokenizer, "token_text", lambda tokenizer, i: f"t{i}")
    monkeypatch.setattr(groups, "members", lambda run, count=0: {
        group: ("lua", np.array([0, 1])) for group in groups.GROUPS})
    monkeypatch.setattr(groups, "activations", lambda run, name: f)
    return SimpleNamespace(probe=probe, root=tmp_path, corpus=SimpleNamespace(tokenizer=None),
                           profile=SimpleNamespace(probe=SimpleNamespace(seed=0)))


def oracle(_, body):
    """A model that explains by the token with a 9 and simulates by looking for it."""
    system, user = (message["content"] for message in body["messages"])
    if "Excerpt" in user:
        return completion(next(line for line in user.split("\n") if line.endswith("\t9")).split("\t")[0])
    wanted = system.split("responds to: ")[1].split("\n")[0]
    if "numbered excerpts" in system:
        return completion(str([int(wanted in line) for line in user.split("\n")]))
    return completion("\n".join(f"{number}: {9 if text == wanted else 0}" for number, text in
                                (line.split(": ") for line in user.split("\n"))))


def test_a_perfect_explainer_scores_one_and_shuffled_nothing(serve, small_run, capsys):
    import pandas as pd

    from unifeat.autointerp import explain

    server, config, _ = serve(oracle)
    frames = {"lua": pd.DataFrame(dict(feature=[0, 1], explainer="lexical"))}
    found = explain.asked(small_run, frames, config)["lua"]
    assert found["explanation"].tolist() == ["t7", "t3"] and set(found["explainer"]) == {"tiny"}
    assert np.allclose(found["simulation"], 1) and np.allclose(found["detection"], 1)
    assert (found["simulation_shuffled"] < 0.3).all() and (found["detection_shuffled"] < 0.9).all()
    first, asked = capsys.readouterr().out, len(server.requests)
    assert first.count("requests") == 1  # one estimate, before anything is sent, and not too low
    assert int(first.split("tiny: ")[1].split(" requests")[0].replace(",", "")) >= asked
    again = explain.asked(small_run, frames, config)["lua"]
    assert again.equals(found) and len(server.requests) == asked
    assert "tiny: 0 requests" in capsys.readouterr().out


def test_refusals_leave_a_feature_without_a_score(serve, small_run):
    import pandas as pd

    from unifeat.autointerp import explain

    _, config, _ = serve(lambda *_: completion(None, refusal="I cannot"))
    found = explain.asked(small_run, {"lua": pd.DataFrame(dict(feature=[0, 1]))}, config)["lua"]
    assert found["simulation"].isna().all() and (found["explanation"] == "").all()


@pytest.mark.parametrize("answer, detected", [
    ("[{}]", True), ("Here you are: [{}].", True), ("[{}, 1]", False), ("{}", False), ("[{}] or [{}]", False),
    ("[{}", False), ("[{}, 2]", False), (None, False)])
def test_a_detection_that_cannot_be_read_leaves_no_score(serve, small_run, answer, detected):
    import pandas as pd

    from unifeat.autointerp import explain

    def script(number, body):
        said = oracle(number, body)
        if "numbered excerpts" not in body["messages"][0]["content"]:
            return said
        if answer is None:
            return completion(None, refusal="I would rather not")
        return completion(answer.replace("{}", said["choices"][0]["message"]["content"].strip("[]")))

    _, config, _ = serve(script)
    found = explain.asked(small_run, {"lua": pd.DataFrame(dict(feature=[0, 1]))}, config)["lua"]
    assert np.allclose(found["simulation"], 1)  # the other score does not suffer
    assert np.allclose(found["detection"], 1) if detected else found["detection"].isna().all()


def test_excerpts_of_a_detection_are_mixed_and_held_out(serve, small_run):
    import pandas as pd

    from unifeat.autointerp import explain, rules

    server, config, _ = serve(oracle)
    explain.asked(small_run, {"lua": pd.DataFrame(dict(feature=[1]))}, config)
    asked = [body["messages"][1]["content"].split("\n") for body, _ in server.requests
             if "numbered excerpts" in body["messages"][0]["content"]]
    probe = small_run.probe
    held = ~rules.halves(probe["document"], probe["domain"])
    texts = {"".join(f"t{i}" for i in row) for row in probe["blocks"][np.unique(probe["block"][held])]}
    lines = [line.split(": ") for one in asked for line in one]
    assert {text for _, text in lines} == texts and all(len(one) <= 5 for one in asked)
    truth = ["t3" in text for _, text in lines]
    assert truth != sorted(truth, reverse=True) and [number for number, _ in lines][:2] == ["1", "2"]


@pytest.mark.parametrize("text, said", [("[1, 0]", [True, False]), ("[ 1,0 ]", [True, False]), ("[1 0]", None),
                                        ("[1.0, 0]", None), ("[true, false]", None), ("[]", None), ("[1, 0], []", None),
                                        ("10", None), ("[[1, 0]]", [True, False]), ("", None), ("[1]", None)])
def test_detections_are_read_strictly(text, said):
    found = prompts.read_detection(client.Reply(text), 2)
    assert found is None if said is None else found.tolist() == said


def test_an_unknown_explainer_is_named(monkeypatch):
    from unifeat.autointerp import explain

    monkeypatch.setenv("EXPLAINER", "gpt")
    with pytest.raises(client.LlmError, match="There is no explainer 'gpt'; EXPLAINER is lexical or llm"):
        explain.explained(None)
    monkeypatch.setenv("UNIFEAT_LLM_FEATURES", "many")
    with pytest.raises(client.LlmError, match="UNIFEAT_LLM_FEATURES=many"):
        explain.explanations.sample()
