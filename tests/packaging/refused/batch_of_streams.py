# ruff: noqa
# refused: unsupported type: an iterator can only be the whole output, not a part of it
from cog import ConcatenateIterator, batch


@batch
def run(text: list[str]) -> list[list[ConcatenateIterator[str]]]:
    return []
