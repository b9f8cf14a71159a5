# ruff: noqa
# refused: parameter 'text': a @batch function takes a list with one value for each prediction: list[str], not str
from cog import batch


@batch
def run(text: str) -> list[str]:
    return [text]
