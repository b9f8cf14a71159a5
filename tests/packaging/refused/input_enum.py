# ruff: noqa
# refused: unsupported type: Color
import enum


class Color(enum.Enum):
    RED = 1


def run(a: Color) -> str: ...
