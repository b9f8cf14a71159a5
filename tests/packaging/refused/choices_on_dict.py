# ruff: noqa
# refused: choices are for str, int, float and bool
from cog import Input


def run(a: dict = Input(choices=[1])) -> str: ...
