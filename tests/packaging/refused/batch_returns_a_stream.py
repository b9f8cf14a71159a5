# ruff: noqa
# refused: a @batch function returns a list with one result for each prediction (it cannot stream): list[R], not Iterator[str]
from typing import Iterator

from cog import batch


@batch
def run(text: list[str]) -> Iterator[str]:
    yield from text
