# ruff: noqa
# refused: constraints and choices are not supported on union inputs
from cog import Input


def run(a: int | str = Input(default=1, ge=0)) -> str: ...
