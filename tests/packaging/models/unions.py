# ruff: noqa
from typing import Dict, List, Optional, Union

from cog import File, Path


def run(
    a: Union[str, List[int]] = [1],
    b: Optional[Union[int, float]] = None,
    c: int | bool | None = True,
    d: Union[Path, None] = None,
    e: List[Optional[str]] = [],
    f: Optional[File] = None,
    g: list[Dict[str, int]] = [{"a": 1}],
    h: list[dict] | None = None,
    i: list = [],
    j: dict[str, str] | str = "x",
) -> dict[str, dict[str, str]]: ...
