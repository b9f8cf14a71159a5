# ruff: noqa
# refused: Model schema is invalid: input 'a': default 0 is less than the minimum 1
from cog import Input


def run(a: int = Input(default=0, ge=1)) -> str: ...
