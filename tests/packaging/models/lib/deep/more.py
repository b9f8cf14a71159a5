# ruff: noqa
from __future__ import annotations

from typing import TypedDict


class Detail(TypedDict):
    text: str
