"""Whose print is it: Python, native code, children, progress bars, and more than anybody wants to read."""

from __future__ import annotations

import time

from modelyard_runner import protocol
from tests.runner.harness import worker


def test_what_python_prints_is_the_predictions() -> None:
    with worker("logs.py:python") as one:
        one.run()
        assert one.text(stream="stdout") == "out line\nbytes ü\nno newline"
        assert one.text(stream="stderr") == "err line\n"


def test_native_output_and_shells_are_the_predictions_and_come_before_its_end() -> None:
    with worker("logs.py:native") as one:
        for name in ("a", "b", "c"):
            one.run(prediction=name)
            assert one.text(name, "stdout") == "native out\nfrom a shell\nhalf\n"
            assert one.text(name, "stderr") == "native err\npartial"
            kinds = [frame["kind"] for frame in one.frames if frame.get("id") == name]
            assert kinds[0] == "started"
            assert kinds[-1] == "done"


def test_a_childs_output_is_the_predictions() -> None:
    with worker("logs.py:child_process") as one:
        one.run()
        assert one.text() == "from a child\nto our stdout\n"


def test_a_carriage_return_ends_a_line() -> None:
    with worker("logs.py:progress") as one:
        one.run()
        assert one.text(stream="stderr") == "0%\n50%\n100%\n"
        assert one.text(stream="stdout") == "windows\nline\n"


def test_the_beginning_of_a_line_does_not_wait_for_its_end() -> None:
    with worker("logs.py:partial") as one:
        one.start("p1", {"seconds": 1})
        assert one.until(lambda frame: frame["kind"] == "log")["text"] == "asking: "
        assert not one.of("done")
        one.end_of("p1")
        assert one.text() == "asking: done\n"


def test_a_thread_that_the_model_starts_prints_for_its_prediction() -> None:
    with worker("logs.py:thread") as one:
        one.run()
        assert one.text() == "from a thread\n"


def test_predictions_at_the_same_time_keep_their_lines_apart() -> None:
    with worker("logs.py:together") as one:
        for name in "abcd":
            one.start(name, {"name": name})
        for name in "abcd":
            one.end_of(name)
            assert one.text(name) == "".join(f"{name} {number}\n" for number in range(5))


def test_a_child_of_setup_may_print_for_ever_and_holds_nothing_up() -> None:
    with worker("logs.py:Background") as one:
        assert "python setup\n" in one.setup_text()
        assert "native setup\n" in one.setup_text()
        one.until(lambda frame: frame["kind"] == "log" and frame["id"] is None)
        one.run({"seconds": 0.2})
        assert "tick" in one.text("p1")


def test_logs_and_items_stay_in_their_order() -> None:
    with worker("logs.py:mixed") as one:
        one.run()
        told = [frame.get("text") or frame["values"][0] for frame in one.frames if frame["kind"] in ("log", "output")]
        assert told == ["log 0\n", "item 0", "log 1\n", "item 1", "log 2\n", "item 2"]


def test_a_line_of_a_hundred_megabytes_is_cut_and_says_so() -> None:
    with worker("logs.py:long_line") as one:
        one.run({"size": 100_000_000})
        first, second, _ = one.text().split("\n")
        assert first == "x" * protocol.MAX_LOG_LINE + " [line cut: longer than 4 MiB]"
        assert second == "after"
        assert max(len(frame["text"]) for frame in one.of("log")) <= 4 * protocol.LOG_PIECE


def test_a_long_line_of_native_code_is_cut_too() -> None:
    with worker("logs.py:native_long_line") as one:
        one.run({"megabytes": 20})
        first, second, _ = one.text().split("\n")
        assert first == "y" * protocol.MAX_LOG_LINE + " [line cut: longer than 4 MiB]"
        assert second == "after"


def test_a_hundred_megabytes_of_lines_wait_for_a_slow_reader_in_bounded_memory() -> None:
    with worker("logs.py:many_lines") as one:
        before = one.memory("Rss")
        one.start("p1", {"count": 100_000, "width": 1000})
        time.sleep(1)  # nobody reads; the printing stops when what waits is enough
        assert one.memory("Rss") - before < 40_000
        one.end_of("p1", timeout=60)
        assert one.memory("Rss") - before < 40_000
        text = one.text()
        assert len(text) > 100_000_000
        assert text.count("\n") == 100_000
        assert text.endswith("xline 99999\n")


def test_much_native_output_arrives_whole() -> None:
    with worker("logs.py:many_native") as one:
        one.run({"count": 100_000})
        assert one.text() == "".join(f"{number}\n" for number in range(1, 100_001))


def test_destructors_may_print_while_something_is_printed() -> None:
    with worker("logs.py:printing_destructors") as one:
        assert one.output() == "fine"
        assert one.text().count("made\n") == 2000


def test_native_output_is_in_its_own_predictions_log_however_quick_they_follow() -> None:
    with worker("logs.py:quick_native") as one:
        for number in range(500):
            one.start(f"p{number}", {"text": f"{number};"})
        one.end_of("p499")
        for number in range(500):
            assert one.text(f"p{number}") == f"{number};" * 10
