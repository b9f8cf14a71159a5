# ruff: noqa
# refused: Model schema is invalid: input 'a': regex '(' is no regular expression
from cog import Input


def run(a: str = Input(regex="(")) -> str: ...
