# ruff: noqa
# refused: @batch is for run() or predict(): trainings run one at a time
from cog import batch


class Runner:
    def run(self, text: str) -> str:
        return text

    @batch
    def train(self, text: list[str]) -> list[str]:
        return text
