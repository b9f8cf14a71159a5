# ruff: noqa
import pathlib
from typing import NewType, TypedDict

Name = NewType("Name", str)
Point = TypedDict("Point", {"x": int, "y": float})
Loose = TypedDict("Loose", {"x": int}, total=False)


class Both(TypedDict):
    point: Point
    loose: Loose


def run(name: Name, point: Point, path: pathlib.Path = "a.txt") -> Both: ...
