# ruff: noqa
# refused: nested nullable variants are not supported in union inputs
from typing import List, Optional, Union


def run(a: Union[str, List[Optional[int]]]) -> str: ...
