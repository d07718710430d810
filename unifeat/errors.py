"""The one error a user is meant to read: what was given, what is wrong with it, what to do."""


class UnifeatError(Exception):
    """Bad input or environment, in one sentence; the command line prints it without a traceback."""

    def _render_traceback_(self):
        """What a notebook shows instead of a traceback."""
        return [str(self)]
