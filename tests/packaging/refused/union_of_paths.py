# ruff: noqa
# refused: unsupported type: Path is not supported in union inputs
from cog import Path


def run(a: Path | str) -> str: ...
