# ruff: noqa
from typing import Any, Dict, List, Optional, TypedDict, Union

from cog import BaseModel, BaseRunner, File, Input, Path, Secret

SIZES = ["s", "m", "l"]


class Box(BaseModel):
    x: int
    label: Optional[str] = None


class Out(BaseModel):
    image: Path
    images: List[Path]
    boxes: List[Box]
    score: float
    meta: Dict[str, Any]
    note: Optional[str] = None


class Options(TypedDict):
    a: int


class Runner(BaseRunner):
    def run(
        self,
        prompt: str = Input(description="The prompt", min_length=1, max_length=100, regex="^[^<]*$"),
        steps: int = Input(description="Steps", default=20, ge=1, le=100),
        scale: float = Input(default=7.5, ge=0.0, le=20.0),
        flag: bool = False,
        size: str = Input(default="m", choices=SIZES),
        count: int = Input(default=1, choices=[1, 2, 4]),
        image: Path = Input(description="img", accept="image/*"),
        mask: Optional[Path] = None,
        audio: File = Input(default=None),
        token: Secret = Input(description="API key"),
        token2: Secret = None,
        tags: List[str] = ["a"],
        images: List[Path] = Input(default=[]),
        opt: Optional[int] = None,
        opt2: str | None = Input(default="z", deprecated=True),
        u: Union[str, int] = "x",
        any_: Any = None,
        d: dict = {},
        td: Options = Input(default={"a": 1}),
        n: list[int] = Input(default=[1, 2], description="nums"),
        optlist: Optional[List[str]] = None,
        req_none: str = None,
    ) -> Out: ...
