# ruff: noqa
# refused: unsupported type: Iterator
from typing import Iterator


def run(a: int) -> Iterator: ...
