# ruff: noqa
# refused: nested union inputs are not supported
from typing import List, Union


def run(a: Union[str, List[Union[int, str]]]) -> str: ...
