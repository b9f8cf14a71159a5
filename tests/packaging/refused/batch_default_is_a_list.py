# ruff: noqa
# refused: Model schema is invalid: input 'steps': default [20] is not of type int
from cog import batch


@batch
def run(steps: list[int] = [20]) -> list[int]:
    return steps
