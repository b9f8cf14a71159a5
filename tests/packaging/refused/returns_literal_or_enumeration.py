# ruff: noqa
# refused: union types are not supported as output
import enum
from typing import List, Literal, Union


class Color(enum.Enum):
    RED = "a"


def run() -> List[Union[Literal["a"], Color]]: ...
