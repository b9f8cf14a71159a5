# ruff: noqa
import enum
from typing import List, Optional

from cog import Input


class Color(str, enum.Enum):
    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = LOW + 1


def run(
    a: Color,
    b: Color = Color.BLUE,
    c: Optional[Level] = Input(default=Level.HIGH, description="how much"),
    d: List[Color] = Input(default=[Color.RED]),
) -> Level: ...
