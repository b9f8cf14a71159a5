"""Several things at once: one failure ends them all."""

from __future__ import annotations

import threading

import pytest

from modelyard.weights import together
from modelyard.weights.sources.base import Progress


def test_what_is_done_at_once_comes_back_in_order() -> None:
    told: list[int] = []

    def double(item: int, advance: Progress) -> int:
        advance(item)
        return 2 * item

    assert together.at_once(double, range(20), told.append) == list(range(0, 40, 2))
    assert sorted(told) == list(range(20))
    assert together.at_once(double, [], told.append) == []


def test_a_failure_ends_what_goes_on_beside_it_and_what_has_not_begun() -> None:
    begun: list[int] = []
    stopped = threading.Event()

    def work(item: int, advance: Progress) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("it")
        try:
            while True:
                advance(1)
                threading.Event().wait(0.001)
        except together.StoppedError:
            stopped.set()
            raise

    with pytest.raises(ValueError, match="it"):
        together.at_once(work, range(100), lambda _: None)
    assert stopped.is_set()
    assert len(begun) < 100
