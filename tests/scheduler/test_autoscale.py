"""How many instances a pool gets."""

from __future__ import annotations

from modelyard.scheduler.autoscale import Bounds, Seen, desired, surplus


def seen(**values: float) -> Seen:
    defaults = {"waiting": 0, "running": 0, "oldest_wait_seconds": 0.0, "starting": 0, "ready": 0, "slots": 1}
    return Seen(**{**defaults, **values})  # type: ignore[arg-type]


def test_work_on_nothing_starts_one() -> None:
    assert desired(seen(waiting=500), Bounds()) == 1


def test_a_young_backlog_starts_no_second_instance() -> None:
    assert desired(seen(waiting=5, running=1, ready=1, oldest_wait_seconds=0.5), Bounds()) == 1


def test_an_old_backlog_starts_one_more_at_a_time() -> None:
    assert desired(seen(waiting=5, running=1, ready=1, oldest_wait_seconds=3), Bounds()) == 2
    assert desired(seen(waiting=5, running=1, ready=1, starting=1, oldest_wait_seconds=3), Bounds()) == 2


def test_the_maximum_and_the_work_itself_are_limits() -> None:
    assert desired(seen(waiting=50, running=2, ready=2, oldest_wait_seconds=9), Bounds(max_instances=2)) == 2
    assert desired(seen(waiting=1, running=10, ready=1, slots=64, oldest_wait_seconds=9), Bounds()) == 1


def test_the_minimum_holds_without_work() -> None:
    assert desired(seen(), Bounds(min_instances=2)) == 2
    assert desired(seen(), Bounds()) == 0


def test_idle_instances_above_the_minimum_are_surplus_after_their_time() -> None:
    assert surplus([400, 10, 350], 3, Bounds(idle_timeout_seconds=300)) == 2
    assert surplus([400, 400], 2, Bounds(idle_timeout_seconds=300, min_instances=1)) == 1
