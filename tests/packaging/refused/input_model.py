# ruff: noqa
# refused: unsupported type: M
from cog import BaseModel


class M(BaseModel):
    a: int


def run(a: M) -> str: ...
