# ruff: noqa
# refused: unsupported type:
from typing import Set


def run(a: Set[int]) -> str: ...
