# ruff: noqa
# refused: unsupported type: Exception
from typing import TypedDict


class Options(TypedDict):
    a: list[Exception]


def run(options: list[Options]) -> str:
    return str(options)
