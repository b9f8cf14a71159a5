"""The name that this command was called by, and what is otherwise under Cog's."""

from __future__ import annotations

import sys
from pathlib import Path

_USAGE = 2
_COGS_ONLY_FAILURE = 1


def name() -> str:
    """`cog` where it is called so, by a link for scripts that were written for Cog; else `yard`."""
    return "cog" if Path(sys.argv[0]).name == "cog" else "yard"


def exit_status(status: int) -> int:
    """The status as the caller knows it: Cog says 1 for whatever went wrong, and has no 2 for wrong usage."""
    return _COGS_ONLY_FAILURE if status == _USAGE and name() == "cog" else status


def status_without_command() -> int:
    """Nothing was asked for and help was shown: wrong usage here, and nothing wrong in Cog."""
    return 0 if name() == "cog" else _USAGE
