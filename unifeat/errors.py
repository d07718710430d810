"""The one error a user is meant to read: what was given, what is wrong with it, what to do."""


class UnifeatError(Exception):
    """Bad input or environment, in one sentence; the command line prints it without a traceback."""
