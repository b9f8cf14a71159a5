"""Its name is one of the standard library's."""

import collections


def run(n: int = 1) -> int:
    return len(collections.deque(range(n)))
