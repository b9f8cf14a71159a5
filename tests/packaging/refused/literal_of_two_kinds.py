# ruff: noqa
# refused: the values of a Literal must be
from typing import Literal


def run(a: Literal[1, "a"]) -> str: ...
