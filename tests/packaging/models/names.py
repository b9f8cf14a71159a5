# ruff: noqa
from cog import Input


def run(
    Input_: str,
    Status: str = Input(choices=["a"]),
    tags: list[str] = Input(choices=["b", "c"], default=["b"], max_length=2),
    deep__name: int = 1,
) -> str: ...
