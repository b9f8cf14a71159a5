# ruff: noqa
from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required, TypedDict
else:
    from typing_extensions import NotRequired, Required, TypedDict


class Result(TypedDict, total=False):
    text: Required[str]
    score: float


class Detail(Result):
    more: NotRequired[list[Result]]
    less: int


def run() -> Detail: ...
