# ruff: noqa
# refused: ConcatenateIterator element type must be str, got int
from cog import ConcatenateIterator


def run(a: int) -> ConcatenateIterator[int]: ...
