# ruff: noqa
from typing import Literal

from .deep.more import Detail
from .star import *

from cog import BaseModel

Choice = Literal["x", "y"]


class Output(BaseModel):
    detail: Detail
    details: list[Detail]
