"""How many predictions an instance takes at once, as cog.yaml and the model say."""

from __future__ import annotations

from tests.faults.yard import Yard

COUNTS = """
import asyncio
from cog import BaseRunner

running = 0

class Runner(BaseRunner):
    async def run(self, expected: int) -> int:
        global running
        running += 1
        for _ in range(200):
            if running >= expected:
                break
            await asyncio.sleep(0.02)
        seen = running
        await asyncio.sleep(0.2)
        running -= 1
        return seen
"""


def test_the_concurrency_of_cog_yaml_holds_in_a_yard(yard: Yard) -> None:
    version = yard.push("counts", COUNTS, yaml="concurrency:\n  max: 3\n")
    made = [yard.create(version, {"expected": 3})["id"] for _ in range(3)]
    assert [yard.finished(prediction)["output"] for prediction in made] == [3, 3, 3]
