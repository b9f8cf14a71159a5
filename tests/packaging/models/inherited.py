# ruff: noqa
from cog import BaseModel, BaseRunner, Input


class First(BaseModel):
    a: int
    b: str = "x"


class Second(First):
    c: float = 0.5
    b: int = 1


class Abstract(BaseRunner):
    def run(self, n: int = Input(default=3)) -> Second: ...


class Middle(Abstract):
    pass


class Runner(Middle):
    def setup(self): ...
