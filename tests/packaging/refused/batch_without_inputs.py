# ruff: noqa
# refused: a @batch function needs at least one input
from cog import batch


class Runner:
    @batch
    def run(self) -> list[str]:
        return []
