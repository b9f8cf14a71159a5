# ruff: noqa
# refused: unsupported type: the values of the enumeration Scale must be
import enum


class Scale(enum.Enum):
    HALF = 0.5


def run(a: Scale) -> str: ...
