"""Random input of every kind: how it is tried, and counted."""

import collections

from hypothesis import HealthCheck, settings

from unifeat.support.errors import UnifeatError

CASES, PLANNED = collections.Counter(), []


def fuzz(examples: int):
    """Hypothesis settings: no deadlines, the same examples every time."""
    PLANNED.append(examples)
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=quiet)


def attempt(kind: str, call, line: bool = False):
    """The result of `call`, or None if it is refused by a sentence: words and a full stop, with `line` on one line."""
    CASES[kind] += 1
    try:
        return call()
    except (UnifeatError, ValueError) as error:
        text = str(error)
        assert not isinstance(error, UnicodeError) and len(text.split()) > 3 and text[-1] in ".?", repr(error)
        assert not line or "\n" not in text, repr(error)
        return None
