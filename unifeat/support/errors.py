"""The one error a user is meant to read: what was given, what is wrong with it, what to do."""


class UnifeatError(Exception):
    """Bad input or environment, in one sentence; the command line prints it without a traceback."""

    def _render_traceback_(self):
        """What a notebook shows instead of a traceback."""
        return [str(self)]


def reason(error: Exception) -> str:
    """The first line of what a library's error says, or its kind if it says nothing.

    >>> reason(ValueError("bad\\nworse")), reason(KeyError())
    ('bad', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]
