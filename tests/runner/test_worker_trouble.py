"""A model that misbehaves ends its own prediction and nothing else; what runs can be cancelled wherever it is."""

from __future__ import annotations

import signal

import pytest

from tests.runner.harness import Worker, worker


def test_an_exception_is_a_sentence_and_a_traceback_of_the_models_own_lines() -> None:
    with worker("trouble.py:fails") as one:
        frame = one.run({"text": "boom"})
        assert frame["kind"] == "failed"
        assert frame["error"] == "ValueError: boom"
        assert "modelyard_runner" not in frame["traceback"]
        assert "raise ValueError(text)" in frame["traceback"]
        assert one.text() == "before\n"
        assert one.run({"text": "again"}, "p2")["error"] == "ValueError: again"


def test_an_exit_fails_that_prediction_only() -> None:
    with worker("trouble.py:exits") as one:
        for name in "ab":
            assert one.run(prediction=name)["error"] == "SystemExit: 3"


@pytest.mark.parametrize(("ref", "code"), [("exits_hard", 7), ("segfaults", -signal.SIGSEGV)])
def test_a_hard_end_ends_the_link(ref: str, code: int) -> None:
    with worker(f"trouble.py:{ref}") as one:
        one.start("p1")
        while one.read():
            pass
        assert one.exit_code() == code


def test_the_last_words_of_a_process_are_heard() -> None:
    for _ in range(5):  # how close to its other frames they come differs
        with worker("trouble.py:exits_with_last_words") as one:
            one.start("p1", {"lines": 20})
            while one.read():
                pass
            assert one.text() == "".join(f"last words {number}\n" for number in range(20))


def cancelled(one: Worker, *, after: str = "log") -> None:
    """Starts a prediction, cancels it as soon as its first sign comes, and waits for its end."""
    one.start("p1")
    one.until(lambda frame: frame["kind"] == after)
    one.send(kind="cancel", id="p1")
    assert one.end_of("p1", timeout=10)["kind"] == "canceled"


@pytest.mark.parametrize("name", ["sleeps", "loops", "waits", "deep"])
def test_sync_code_is_cancelled_where_it_is_and_the_worker_goes_on(name: str) -> None:
    with worker(f"trouble.py:{name}") as one:
        cancelled(one)
        one.start("p2")
        one.until(lambda frame: frame["kind"] == "log" and frame["id"] == "p2")


def test_a_cancelled_model_may_clean_up() -> None:
    with worker("trouble.py:cleans_up") as one:
        cancelled(one)
        assert one.text() == "working\ncleaned up\n"
    with worker("trouble.py:cleans_up_iterator") as one:
        cancelled(one, after="output")
        assert one.text() == "closed\n"


def test_what_swallows_its_cancellation_is_cancelled_all_the_same() -> None:
    with worker("trouble.py:swallows") as one:
        cancelled(one)
    with worker("basic.py:swallow") as one:
        cancelled(one, after="started")


def test_a_model_that_prints_without_end_can_be_cancelled_while_nobody_reads() -> None:
    with worker("trouble.py:prints_forever") as one:
        one.start("p1")
        one.until(lambda frame: frame["kind"] == "log")
        one.send(kind="cancel", id="p1")
        assert one.end_of("p1", timeout=20)["kind"] == "canceled"


def test_async_code_is_cancelled() -> None:
    with worker("basic.py:async_sleep") as one:
        one.start("p1", {"seconds": 60})
        one.start("p2", {"seconds": 0.3, "text": "other"})
        one.until(lambda frame: frame["kind"] == "started" and frame["id"] == "p2")
        one.send(kind="cancel", id="p1")
        assert one.end_of("p1")["kind"] == "canceled"
        assert one.end_of("p2")["output"] == "other"


@pytest.mark.parametrize(("ref", "value"), [("trouble.py:sleeps", {}), ("basic.py:async_hello", {})])
def test_what_waits_is_cancelled_before_it_starts(ref: str, value: dict[str, object]) -> None:
    with worker(ref, concurrency=1) as one:
        for name in ("p1", "p2"):
            one.start(name, value)
        one.send(kind="cancel", id="p2")
        if "sleeps" in ref:
            assert one.end_of("p2")["kind"] == "canceled"
            assert not one.of("started", "p2")
            one.send(kind="cancel", id="p1")
            assert one.end_of("p1")["kind"] == "canceled"
        else:
            assert one.end_of("p1")["kind"] == "done"


def test_a_cancel_for_what_is_not_here_is_ignored() -> None:
    for ref in ("trouble.py:quick", "basic.py:async_hello"):
        with worker(ref) as one:
            one.send(kind="cancel", id="nobody")
            assert one.output({"text": "x"}).endswith("x")


def test_quick_predictions_survive_a_storm_of_cancels() -> None:
    with worker("trouble.py:quick") as one:
        for number in range(300):
            one.start(f"p{number}")
            one.send(kind="cancel", id=f"p{number}")
        ends = {one.end_of(f"p{number}")["kind"] for number in range(300)}
        assert ends <= {"done", "canceled"}
        assert [len(one.of("done", f"p{n}")) + len(one.of("canceled", f"p{n}")) for n in range(300)] == [1] * 300


def test_a_fork_does_not_speak_for_its_parent() -> None:
    with worker("trouble.py:forks") as one:
        assert one.output() == "parent"
        assert one.text() == "child prints\n"
        assert one.output(prediction="p2") == "parent"
    with worker("trouble.py:fork_fails") as one:
        assert one.output() == "1"
        assert "ValueError: in the child" in one.text()


def test_pools_of_processes_started_in_setup_work() -> None:
    for name in ("Pool", "SpawnPool"):
        with worker(f"trouble.py:{name}") as one:
            assert one.output() == [0, 1, 4, 9]
            assert one.text().count("squaring") == 4


def test_a_child_forked_in_setup_does_not_hold_the_link_open() -> None:
    with worker("trouble.py:ForkInSetup") as one:
        assert one.output() == "fine"
        one.process.kill()
        while one.read(timeout=5):
            pass


def test_shutdown_ends_an_idle_worker_at_once() -> None:
    for ref in ("trouble.py:quick", "basic.py:async_hello"):
        with worker(ref) as one:
            one.send(kind="shutdown", grace=30)
            assert one.exit_code() == 0


@pytest.mark.parametrize("ref", ["basic.py:tokens", "basic.py:async_tokens"])
def test_shutdown_lets_running_work_finish(ref: str) -> None:
    with worker(ref) as one:
        one.start("p1", {"count": 5, "pause": 0.05})
        one.until(lambda frame: frame["kind"] == "started")
        one.send(kind="shutdown", grace=30)
        assert one.end_of("p1")["kind"] == "done"
        assert one.exit_code() == 0


@pytest.mark.parametrize(("ref", "value"), [("trouble.py:sleeps", {}), ("basic.py:async_sleep", {"seconds": 60})])
def test_shutdown_cancels_what_does_not_finish_within_the_grace(ref: str, value: dict[str, object]) -> None:
    with worker(ref) as one:
        one.start("p1", value)
        one.until(lambda frame: frame["kind"] == "started")
        one.send(kind="shutdown", grace=0.1)
        assert one.end_of("p1", timeout=10)["kind"] == "canceled"
        assert one.exit_code() == 0


def test_a_thread_of_the_models_does_not_keep_the_worker_from_ending() -> None:
    with worker("trouble.py:ThreadInSetup") as one:
        one.send(kind="shutdown", grace=0)
        assert one.exit_code(timeout=15) == 0


@pytest.mark.parametrize("ref", ["trouble.py:quick", "basic.py:async_hello"])
def test_an_idle_worker_ends_with_its_link(ref: str) -> None:
    with worker(ref) as one:
        one.hang_up()
        assert one.exit_code() == 1


@pytest.mark.parametrize("ref", ["trouble.py:sleeps", "trouble.py:loops", "trouble.py:swallows"])
def test_a_busy_worker_ends_with_its_link(ref: str) -> None:
    with worker(ref) as one:
        one.start("p1")
        one.until(lambda frame: frame["kind"] == "log")
        one.hang_up()
        assert one.exit_code() == 1
