# ruff: noqa
# refused: choices are empty
from cog import Input


def run(a: str = Input(choices=[])) -> str: ...
