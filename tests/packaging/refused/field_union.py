# ruff: noqa
# refused: field "v": unsupported type: union types are not supported as output
from cog import BaseModel


class M(BaseModel):
    v: int | str


def run(a: int) -> M: ...
