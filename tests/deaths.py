"""What an engine says of the ends of its instances, for the tests of every engine."""

from __future__ import annotations

import asyncio


class Deaths:
    """Collects what engines report."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def __call__(self, instance: str, reason: str) -> None:
        assert instance not in self.reasons, "a death was reported twice"
        self.reasons[instance] = reason

    async def of(self, instance: str) -> str:
        for _ in range(1000):
            if instance in self.reasons:
                return self.reasons[instance]
            await asyncio.sleep(0.02)
        raise AssertionError(f"no death of {instance} was reported")
