"""Models whose outputs have every shape."""

import dataclasses
import datetime
import enum
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path as PlainPath
from typing import Any

from cog import BaseModel, Path, Secret


class Color(enum.Enum):
    RED = "red"


class Scored(BaseModel):
    label: str
    score: float
    picture: Path


@dataclasses.dataclass
class Point:
    x: int
    y: list


class Array:
    """As numpy's arrays look from outside."""

    dtype = "float32"

    def __init__(self, values: Any) -> None:
        self._values = values

    def tolist(self) -> Any:
        return self._values


class Pydantic:
    """As pydantic 2 looks from outside."""

    model_fields = ("a",)

    def model_dump(self) -> dict:
        return {"a": Color.RED, "when": datetime.date(2024, 1, 2)}


class PydanticOne:
    """As pydantic 1 looks from outside."""

    __fields__ = ("a",)

    def dict(self) -> Any:
        return {"a": 1}


def file(name: str = "out.txt", text: str = "content") -> Path:
    path = PlainPath(tempfile.mkdtemp()) / name
    path.write_text(text)
    return Path(path)


def make(shape: str = "none") -> Any:
    shapes = {
        "none": lambda: None,
        "dict": lambda: {"a": [1, 2.5, None, True], "b": 'ü\n"quoted"'},
        "enum": lambda: [Color.RED],
        "time": lambda: [
            datetime.datetime(2024, 1, 2, 3, 4, 5),
            datetime.date(2024, 1, 2),
            datetime.timedelta(seconds=3),
        ],
        "set": lambda: {"x"},
        "tuple": lambda: (1, (2, 3)),
        "generator inside": lambda: {"g": (n for n in range(3))},
        "dataclass": lambda: Point(1, [Point(2, [])]),
        "array": lambda: {"a": Array([1.5, 2.0]), "b": Array(3)},
        "pydantic": lambda: [Pydantic(), PydanticOne()],
        "secret": lambda: {"s": Secret("abc"), "t": "fine"},
        "bytes": lambda: {"a": [1, b"xx"]},
        "nan": lambda: {"a": [1.0, float("nan")]},
        "array nan": lambda: {"a": Array([float("inf")])},
        "object": lambda: [object()],
        "bad key": lambda: {(1, 2): 3},
        "circle": circle,
        "surrogate": lambda: "half \ud83d",
        "path": file,
        "path in dict": lambda: {"one": file("a.png"), "two": [file("a.png"), file("b.txt")]},
        "model": lambda: Scored(label="cat", score=0.5, picture=file("cat.jpg")),
        "missing": lambda: Path("/nowhere/out.png"),
        "directory": lambda: [Path(tempfile.mkdtemp())],
        "open file": lambda: file("open.txt", "from disk").open("rb"),
        "bytes io": lambda: io.BytesIO(b"in memory"),
        "string io": lambda: io.StringIO("in memory"),
        "huge": lambda: "x" * 3_000_000,
        "huge file": lambda: file("big.bin", "y" * 3_000_000),
    }
    return shapes[shape]()


def circle() -> Any:
    value: list = []
    value.append(value)
    return value


def files(count: int = 3) -> Iterator[Path]:
    for number in range(count):
        yield file(f"{number}.txt", str(number))


def big_items(count: int = 3) -> Iterator[str]:
    for number in range(count):
        yield str(number) * 1_000_000


def same_path(text: str) -> Path:
    path = PlainPath(tempfile.gettempdir()) / f"same-{id(same_path)}.txt"
    path.write_text(text)
    return Path(path)


_RETURNED = {
    "text": "alone",
    "none": None,
    "dict": {"a": 1},
    "list": ["a"],
    "tuple": ("a", "b"),
    "set": {"a"},
    "array": Array([1.5]),
    "long": "x" * 500_000,
}


def listed(what: str) -> list[Any]:
    return _RETURNED[what]


async def listed_later(what: str) -> list[Any]:
    return _RETURNED[what]


def perhaps_listed(what: str) -> list[Any] | None:
    return _RETURNED[what]


def yields_they_say(what: str) -> Iterator[str]:
    return _RETURNED[what]


def unsaid(what: str):
    return _RETURNED[what]
