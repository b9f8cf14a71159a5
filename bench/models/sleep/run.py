"""Work that waits, as for another service: 64 at once take as long as one."""

import asyncio

from cog import BaseRunner, Input, concurrent


class Runner(BaseRunner):
    @concurrent(max=64)
    async def run(self, seconds: float = Input(description="How long to wait", default=0.05, ge=0, le=60)) -> float:
        await asyncio.sleep(seconds)
        return seconds
