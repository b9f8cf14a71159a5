# ruff: noqa
# refused: parameter 'text': a @batch function takes a list with one value for each prediction: list[T], not list
from cog import batch


class Runner:
    @batch
    def run(self, text: list) -> list[str]:
        return text
