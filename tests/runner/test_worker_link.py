"""The link may break and the work does not, where the worker was told to dial again."""

from __future__ import annotations

import pytest

from tests.runner.harness import Worker, worker

SYNC, ASYNC = "basic.py:tokens", "basic.py:async_tokens"


def resumed(one: Worker) -> dict[str, object]:
    """The hello of the next connection; everything before it is forgotten, as by a parent that was restarted."""
    one.forget()
    return one.accept()


@pytest.mark.parametrize("ref", [SYNC, ASYNC])
def test_work_goes_on_and_everything_not_acknowledged_comes_again(ref: str) -> None:
    with worker(ref, reconnect_seconds=20) as one:
        one.start("p1", {"count": 20, "pause": 0.02})
        one.until(lambda frame: frame["kind"] == "output")
        one.hang_up()
        hello = resumed(one)
        assert hello["resumes"] is True
        assert hello["running"] == ["p1"]
        one.end_of("p1")
        assert [frame["seq"] for frame in one.frames[1:]] == list(range(1, len(one.frames)))
        assert len(one.items()) == 20
        assert one.frames[1]["kind"] == "ready"


@pytest.mark.parametrize("ref", [SYNC, ASYNC])
def test_what_was_acknowledged_does_not_come_again(ref: str) -> None:
    with worker(ref, reconnect_seconds=20) as one:
        done = one.run({"count": 3})
        one.run({"count": 3}, "p2")
        one.send(kind="ack", seq=done["seq"])
        one.send(kind="healthcheck", id="h")
        one.until(lambda frame: frame["kind"] == "health")
        one.hang_up()
        assert resumed(one)["running"] == ["p2"]
        one.end_of("p2")
        assert one.frames[1]["seq"] == done["seq"] + 1
        assert not one.of("done", "p1")


def test_a_prediction_that_ends_while_nobody_listens_is_told_later() -> None:
    with worker(SYNC, reconnect_seconds=20) as one:
        one.start("p1", {"count": 3, "pause": 0.05})
        one.until(lambda frame: frame["kind"] == "started")
        one.hang_up()
        one.listener.close()
        one.listen_again(after=0.5)
        assert resumed(one)["running"] == ["p1"]
        assert one.end_of("p1")["kind"] == "done"
        one.run({"count": 1}, "p2")


def test_a_prediction_sent_twice_runs_once() -> None:
    with worker(SYNC, reconnect_seconds=20) as one:
        one.start("p1", {"count": 3})
        one.start("p1", {"count": 3})
        one.end_of("p1")
        one.run({"count": 1}, "p2")
        assert len(one.of("started")) == 1


def test_a_worker_may_be_left_more_than_once() -> None:
    with worker(SYNC, reconnect_seconds=20) as one:
        one.start("p1", {"count": 30, "pause": 0.02})
        for _ in range(3):
            one.until(lambda frame: frame["kind"] == "output")
            one.hang_up()
            resumed(one)
        one.end_of("p1")
        assert len(one.items()) == 30


def test_many_frames_without_a_listener_go_to_a_file_and_come_back_whole() -> None:
    with worker("logs.py:many_lines", reconnect_seconds=20) as one:
        before = one.memory("Rss")
        one.start("p1", {"count": 60_000, "width": 1000})
        one.until(lambda frame: frame["kind"] == "log")
        one.hang_up()
        one.listener.close()
        one.listen_again(after=2)
        spool = one.scratch / "frames"
        assert spool.stat().st_size > 4_000_000
        assert one.memory("Rss") - before < 40_000
        resumed(one)
        one.end_of("p1", timeout=60)
        assert one.text() == "".join(f"{'x' * 1000}line {number}\n" for number in range(60_000))
        one.send(kind="ack", seq=one.frames[-1]["seq"])
        one.run({"count": 1}, "p2")
        assert spool.stat().st_size == 0


@pytest.mark.parametrize("ref", [SYNC, ASYNC, "trouble.py:SetupHangs"])
def test_a_worker_that_nobody_takes_back_ends(ref: str) -> None:
    with worker(ref, ready=False, reconnect_seconds=0.5) as one:
        one.accept()
        if "Hangs" not in ref:
            one.start("p1", {"count": 1000, "pause": 0.05})
            one.until(lambda frame: frame["kind"] == "started")
        one.listener.close()
        one.hang_up()
        assert one.exit_code() == 1


def test_a_shutdown_waits_for_the_last_acknowledgement() -> None:
    with worker(SYNC, reconnect_seconds=20) as one:
        done = one.run({"count": 3})
        one.send(kind="shutdown", grace=5)
        one.send(kind="ack", seq=done["seq"])
        assert one.exit_code(timeout=4) == 0


def test_a_worker_without_anybody_to_dial_says_so() -> None:
    one = Worker(SYNC, link="unix:/nowhere/link")
    try:
        assert one.exit_code(timeout=25) == 1
        assert "nobody answers at unix:/nowhere/link" in one.log_text()
    finally:
        one.close()
