# ruff: noqa
# refused: @streaming requires Iterator[...]
import cog


@cog.streaming
def run(a: int) -> str: ...
