# ruff: noqa
# refused: accept is only valid on Path or File inputs (parameter 'a')
from cog import Input


def run(a: str = Input(accept="image/*")) -> str: ...
