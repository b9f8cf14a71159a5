# ruff: noqa
from lib.kinds import Choice, Output as Result
import lib.inputs
import lib.inputs as shared
from lib import inputs as again
from lib.star import *


class Runner:
    def run(
        self,
        a: str = lib.inputs.PROMPT,
        b: str = shared.prompt(),
        c: str = again.NAMES[0],
        d: Choice = "x",
        e: str = STARRED,
        *,
        only: int = 1,
        **kwargs,
    ) -> Result: ...
