"""How a command's examples are shown under its help."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """An epilog of one command a line, which click must not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
