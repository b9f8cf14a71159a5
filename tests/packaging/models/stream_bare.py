# ruff: noqa
from cog import ConcatenateIterator


def run(a: int) -> ConcatenateIterator: ...
