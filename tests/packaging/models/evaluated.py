# ruff: noqa
import enum
import math
import os
import sys
from typing import List

from cog import Input, Path

SCHEDULERS = {"ddim": 1, "euler": 2}
BASE: List[str] = ["a", "b"]
MORE = BASE + ["c"]
MORE += ["d"]
SMALL, LARGE = 1, 2**10
PREFIX = "pre"
SEED = Input(description="Seed for all\n", default=None, ge=0, le=2**31 - 1)
COMMON = {"description": "shared", "default": 3}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inputs:
    steps = Input(default=20, ge=1)
    SIZES = ("s", "m")
    nested = SIZES

    @staticmethod
    def scale() -> float:
        return Input(default=1.5, le=math.pi)


def strength() -> float:
    return Input(default=0.5, ge=0, le=1)


if __name__ == "__main__":
    BASE = ["other"]

try:
    import not_there_at_all
except ImportError:
    not_there_at_all = None


def run(
    a: str = Input(choices=list(SCHEDULERS.keys())),
    b: int = Input(choices=list(SCHEDULERS.values()), default=SCHEDULERS["euler"]),
    c: str = Input(choices=MORE, default=MORE[-1]),
    d: str = Input(choices=sorted(["z", "y"])),
    e: str = Input(choices=[color.value for color in Color], default=Color.RED.value),
    f: str = Input(choices=Inputs.SIZES),
    g: str = Input(choices=[*BASE, "x"]),
    h: int = 1024 * 1024,
    i: int = LARGE,
    j: str = f"{PREFIX}fix-{SMALL:03d}",
    k: float = -1e-4,
    l: int = 0x10 + 1_000,
    m: str = """three
quotes""",
    n: str = r"raw\n",
    o: str = "implicit \u00e9",
    p: int = SEED,
    q: int = Inputs.steps,
    r: float = Inputs.scale(),
    s: float = strength(),
    t: int = Input(**COMMON),
    u: list[int] = Input(default=[x * 2 for x in range(4) if x != 1]),
    v: int = Input(7, description="by position"),
    w: str = ("in parentheses"),
    x: list[list[int]] = [[1], [2, 3]],
    y: bool = not False,
    z: Path = Path("a") if False else None,
    aa: str = "A,B".lower().split(",")[1],
    bb: int = max(1, len(MORE), round(2.6)),
    cc: str = "%" + "ok",
    dd: int = sys.maxsize if False else 1,
    ee: dict = {"n": {"m": [1, 2.0, None, True]}},
) -> str: ...
