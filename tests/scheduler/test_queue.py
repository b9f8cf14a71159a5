"""The queue of a pool."""

from __future__ import annotations

from modelyard.scheduler import queue as queues
from modelyard.scheduler.queue import Queue


def test_accounts_take_turns_and_each_is_served_in_order() -> None:
    queue = Queue()
    for number in range(3):
        queue.push(f"a{number}", "a", 0.0)
    queue.push("b0", "b", 0.0)
    assert [queue.pop() for _ in range(5)] == ["a0", "b0", "a1", "a2", None]


def test_what_is_withdrawn_is_not_served() -> None:
    queue = Queue()
    queue.push("x", "a", 0.0)
    queue.push("y", "a", 0.0)
    assert queue.remove("x")
    assert not queue.remove("x")
    assert (queue.pop(), queue.pop(), len(queue)) == ("y", None, 0)


def test_a_backlog_without_end_stays_in_the_database() -> None:
    queue = Queue()
    for number in range(queues.MAX_IDS + 10):
        queue.push(str(number), "a", 0.0)
    assert len(queue) == queues.MAX_IDS
    assert queue.more


def test_a_short_page_is_the_last() -> None:
    queue = Queue()
    queue.more = True
    queue.push_page([("x", "a", 5)], 0.0)
    assert (queue.more, queue.last, queue.pop()) == (False, (5, "x"), "x")


def test_the_oldest_wait_is_the_first_ones() -> None:
    queue = Queue()
    assert queue.oldest_wait(9.0) == 0.0
    queue.push("x", "a", 1.0)
    queue.push("y", "a", 5.0)
    assert queue.oldest_wait(9.0) == 8.0
