# ruff: noqa
"""The bare decorator, on an async function, with a result that may be an error."""

from __future__ import annotations

from typing import List, Union

from cog import batch

Result = Union[str, Exception]


@batch
async def run(text: List[str], times: List[int | float] = 2) -> List[Result]:
    return [one * int(many) for one, many in zip(text, times)]
