"""What a language model is shown of a feature, and how its answers are read."""

import math

import numpy as np
import pytest
from endpoint import ask_for, completion

from unifeat.autointerp import client, prompts


def test_simulation_is_the_expected_digit_where_log_probabilities_are_offered(serve, tmp_path):
    half = [dict(token="8", logprob=math.log(0.5), bytes=None, top_logprobs=[
        dict(token="8", logprob=math.log(0.5), bytes=None), dict(token="4", logprob=math.log(0.5), bytes=None)])]
    plain = [dict(token=token, logprob=0.0, bytes=None, top_logprobs=[]) for token in ("0", ": ")]
    last = [dict(token=token, logprob=0.0, bytes=None, top_logprobs=[]) for token in ("\n", "1", ": ", "2")]
    _, config, _ = serve(lambda *_: completion("0: 8\n1: 2", logprobs=dict(content=plain + half + last)))
    for _ in range(2):  # asked, and from the cache
        reply, = client.ask(ask_for("a"), config, tmp_path, logprobs=True)
        assert np.allclose(prompts.read_simulation(reply, 2), [6.0, 2.0])


def test_simulation_without_log_probabilities_and_with_chatter():
    assert prompts.read_simulation(client.Reply("Sure!\n0: 3\n 1 : 9\n7: 5\n1: 0"), 2).tolist() == [3, 9]
    assert prompts.read_simulation(client.Reply("0: 3"), 2).tolist() == [3, 0]
    assert prompts.read_simulation(client.Reply("I would say five."), 2) is None
    assert prompts.read_simulation(client.Reply("0: 3"), 9) is None


def test_a_refusal_says_nothing():
    reply = client.Reply("", refused=True)
    assert prompts.read_explanation(reply) == "" and prompts.read_simulation(reply, 3) is None
    assert prompts.read_detection(reply, 3) is None


def test_examples_span_the_quantiles_and_hold_the_strongest():
    values = np.arange(100.0)
    chosen = values[prompts.quantile_rows(values, 5)]
    assert len(chosen) == 5 and chosen[0] == 99 and np.abs(chosen - [99, 74.25, 49.5, 24.75, 0]).max() <= 0.75


def test_the_explainer_is_told_the_domains_and_shown_the_scale():
    system, user = prompts.explain([(["a\n", "b"], np.array([0.0, 2.0]))], "Chat and Web")
    assert user["content"] == "Excerpt 1\na\\n\t0\nb\t9" and "that reads Chat and Web." in system["content"]


@pytest.mark.parametrize("text, said", [("[1, 0]", [True, False]), ("[ 1,0 ]", [True, False]), ("[1 0]", None),
                                        ("[1.0, 0]", None), ("[true, false]", None), ("[]", None), ("[1, 0], []", None),
                                        ("10", None), ("[[1, 0]]", [True, False]), ("", None), ("[1]", None)])
def test_detections_are_read_strictly(text, said):
    found = prompts.read_detection(client.Reply(text), 2)
    assert found is None if said is None else found.tolist() == said
