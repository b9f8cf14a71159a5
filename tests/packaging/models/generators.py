# ruff: noqa
from typing import AsyncGenerator


async def run(n: int = 3) -> AsyncGenerator[int, None]:
    yield n
