# ruff: noqa
from typing import *
from cog import *


class Runner(BaseRunner):
    def run(self, x: Optional[Path] = None, y: List[int] = Input(default=[1])) -> Dict[str, int]: ...
