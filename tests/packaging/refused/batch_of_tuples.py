# ruff: noqa
# refused: parameter 'text': a @batch function takes a list with one value for each prediction: list[str], not tuple[str]
from cog import batch


@batch
def run(text: tuple[str, ...]) -> list[str]:
    return list(text)
