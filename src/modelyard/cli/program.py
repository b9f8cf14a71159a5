"""The name that this command was called by."""

from __future__ import annotations

import sys
from pathlib import Path


def name() -> str:
    """`cog` where it is called so, by a link for scripts that were written for Cog; else `yard`."""
    return "cog" if Path(sys.argv[0]).name == "cog" else "yard"
