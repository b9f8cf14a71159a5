# ruff: noqa
from cog import Input

NAMES = ["a", "b"]
PROMPT = Input(description="shared prompt")


def prompt(default: str = "") -> str:
    """What many models ask."""
    return Input(default="hi", max_length=9)
