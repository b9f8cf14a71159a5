"""Asks before something is taken away for good."""

from __future__ import annotations

import sys

from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, UsageError


class Declined(ModelyardError):
    """The person said no."""


def confirm(talk: Talk, question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless `yes`. Raises Declined, and UsageError where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on.", hint="--yes says so")
    talk.piece(f"{question} [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined("nothing was deleted")
