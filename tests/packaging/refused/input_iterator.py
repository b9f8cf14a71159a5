# ruff: noqa
# refused: unsupported type:
from typing import Iterator


def run(a: Iterator[int]) -> str: ...
