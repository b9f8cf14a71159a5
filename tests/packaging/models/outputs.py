# ruff: noqa
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Dict, List, Optional, TypedDict

from cog import BaseModel, File, Opaque, Path, Secret

Numbers = List[int]


class Base(TypedDict):
    a: int


class Loose(Base, total=False):
    b: str


@dataclass
class Data:
    x: int
    y: list = field(default_factory=list)
    z: str = "a"


class Mixed(BaseModel):
    VERSION: ClassVar[str] = "1"
    text: str
    maybe: Optional[int]
    loose: Loose
    data: Data
    path: Path
    file: File
    secret: Secret
    opaque: Annotated["Unknown", Opaque]
    opaques: List[Annotated["Unknown", Opaque]]
    container: Annotated[Optional[list["Unknown"]], Opaque]
    table: Dict[str, List[float]]
    bare: dict
    bare_list: list
    anything: Any = None
    numbers: Numbers = None


def run(x: Annotated[str, "a comment"], y: Annotated["Unknown", Opaque] = None) -> List[Mixed]: ...
