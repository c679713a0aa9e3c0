"""Errors with something to say to a person; every other one is a fault of the program."""

from __future__ import annotations


class Explained(Exception):  # noqa: N818 - it says what has happened, like those below
    """An error whose message is one line for the person who caused or met it.

    The command line shows that line and ends with `exit_status`. Any other error, a plain
    `ValueError` included, is a fault of the program, and is shown with its traceback.
    """

    exit_status = 1


class BadInput(Explained, ValueError):  # noqa: N818
    """What was given is impossible; the message names it, and what is allowed."""

    exit_status = 2


class MissingData(BadInput):
    """A dataset that is known by name is not there."""
