# ruff: noqa
# refused: field "v": unsupported type: tuple
from cog import BaseModel


class M(BaseModel):
    v: tuple[int]


def run(a: int) -> list[M]: ...
