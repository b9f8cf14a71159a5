# ruff: noqa
# refused: a @batch function returns a list with one result for each prediction: list[str], not str
from cog import batch


@batch
def run(text: list[str]) -> str:
    return "".join(text)
