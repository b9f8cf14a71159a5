# ruff: noqa
# refused: default 'c' is not one of the choices
from cog import Input


def run(a: str = Input(default="c", choices=["a"])) -> str: ...
