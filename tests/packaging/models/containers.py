# ruff: noqa
import collections.abc
from typing import FrozenSet, List, Sequence, Set, Tuple

from cog import BaseModel


class Out(BaseModel):
    pair: tuple[int, int]
    mixed: Tuple[int, str]
    many: tuple[float, ...]
    names: Set[str]
    frozen: FrozenSet[int] = frozenset()
    bare: tuple = ()
    rows: Sequence[Sequence[int]] = ()


def run(a: Sequence[int] = (1, 2), b: collections.abc.Sequence = ()) -> List[Out]: ...
