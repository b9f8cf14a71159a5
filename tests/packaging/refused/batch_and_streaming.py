# ruff: noqa
# refused: @batch and @streaming exclude each other
import cog


class Runner:
    @cog.streaming
    @cog.batch(max_size=2)
    def run(self, text: list[str]) -> list[str]:
        return text
