"""One prediction as a state machine, and what is told of it: pure, so no process is needed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard_runner import frames, replies, sse
from modelyard_runner.prediction import CUT, MAX_LOGS, Prediction, fold


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def fresh() -> Prediction:
    return Prediction("p", b'"p"', b"{}", 1_700_000_000_000_001)


ANY_FRAME = st.sampled_from(
    [
        frames.Started(id="p"),
        frames.Log(id="p", text="line\n"),
        frames.Output(id="p", values=raw(["a", 1])),
        frames.Output(id="p", values=raw([])),
        frames.Metric(id="p", name="a.b", value=raw(1), mode="increment"),
        frames.Done(id="p", output=raw({"x": 1}), seconds=0.5),
        frames.Done(id="p", iterator=True),
        frames.Failed(id="p", error="ValueError: no", traceback="Traceback\n"),
        frames.Canceled(id="p"),
        frames.Health(id="p", ok=True),
    ]
)


@given(st.lists(ANY_FRAME, max_size=20))
def test_whatever_comes_it_ends_once_and_its_end_is_final(received: list[frames.Frame]) -> None:
    prediction = fresh()
    events = [prediction.apply(frame, 1_700_000_000_000_000 + at) for at, frame in enumerate(received, 2)]
    assert events.count("completed") == (1 if prediction.ended else 0)
    if prediction.ended:
        assert not any(events[events.index("completed") + 1 :])
        assert prediction.status in ("succeeded", "failed", "canceled")
        before = replies.render(prediction)
        prediction.apply(frames.Failed(id="p", error="late"), 9)
        assert replies.render(prediction) == before
    else:
        assert prediction.status in ("starting", "processing")
    told = json.loads(replies.render(prediction))
    assert list(told) == sorted(told)
    assert ("error" in told) == (told["status"] == "failed")


def test_items_become_the_output_of_an_iterator() -> None:
    prediction = fresh()
    for frame in (
        frames.Started(id="p"),
        frames.Output(id="p", values=raw(["a", "b"])),
        frames.Output(id="p", index=2, values=raw([{"c": 1}])),
    ):
        prediction.apply(frame, 5)
    assert prediction.result() == b'["a", "b",{"c": 1}]'
    prediction.apply(frames.Done(id="p", iterator=True, seconds=1), 6)
    assert json.loads(replies.render(prediction))["output"] == ["a", "b", {"c": 1}]
    empty = fresh()
    empty.apply(frames.Done(id="p", iterator=True), 5)
    assert empty.result() == b"[]"


@pytest.mark.parametrize("end", [frames.Failed(id="p", error="no"), frames.Canceled(id="p")])
def test_what_was_yielded_stays_when_it_does_not_end_well(end: frames.Frame) -> None:
    prediction = fresh()
    prediction.apply(frames.Output(id="p", values=raw(["a"])), 5)
    prediction.apply(end, 6)
    assert json.loads(replies.render(prediction))["output"] == ["a"]
    nothing = fresh()
    nothing.apply(end, 5)
    assert "output" not in json.loads(replies.render(nothing))


def test_a_moment_is_shown_as_it_was() -> None:
    prediction = fresh()
    prediction.apply(frames.Started(id="p"), 5)
    moments = [prediction.moment()]
    for text in ("one\n", "two\n"):
        prediction.add_log(text)
        prediction.apply(frames.Output(id="p", values=raw([text])), 6)
        moments.append(prediction.moment())
    prediction.apply(frames.Failed(id="p", error="ValueError: no", traceback="Traceback\n", seconds=1), 7)
    shown = [json.loads(replies.render_at(prediction, moment)) for moment in moments]
    assert [one["logs"] for one in shown] == ["", "one\n", "one\ntwo\n"]
    assert [one.get("output") for one in shown] == [None, ["one\n"], ["one\n", "two\n"]]
    assert {one["status"] for one in shown} == {"processing"}
    assert all(list(one) == sorted(one) and one["metrics"] == {} for one in shown)


def test_one_whose_worker_died_ran_until_then() -> None:
    prediction = fresh()
    prediction.apply(frames.Started(id="p"), 1_000_000)
    prediction.apply(frames.Failed(id="p", error="Worker crashed"), 3_500_000)
    assert prediction.seconds == 2.5


def test_items_that_came_together_are_told_one_by_one() -> None:
    frame = frames.Output(id="p", index=4, values=raw(["a", [1, 2], {"b": ","}]))
    parts = frames.single_items(frame)
    assert [part.index for part in parts] == [4, 5, 6]
    assert [json.loads(bytes(part.values)) for part in parts] == [["a"], [[1, 2]], [{"b": ","}]]


def test_nothing_returned_is_null_and_not_missing() -> None:
    prediction = fresh()
    prediction.apply(frames.Done(id="p"), 5)
    assert json.loads(replies.render(prediction))["output"] is None


def test_a_very_long_log_keeps_its_end() -> None:
    prediction = fresh()
    for _ in range(5):
        prediction.add_log("x" * MAX_LOGS)
    prediction.add_log("the end")
    assert prediction.logs.startswith(CUT)
    assert prediction.logs.endswith("the end")
    assert len(prediction.logs) < 3 * MAX_LOGS


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        ([("a", 1, "replace"), ("a", 2, "replace")], {"a": 2}),
        ([("a.b.c", 1, "increment"), ("a.b.c", 2.5, "increment")], {"a": {"b": {"c": 3.5}}}),
        ([("a", "x", "append"), ("a", "y", "append")], {"a": ["x", "y"]}),
        ([("a", 1, "replace"), ("a", None, "replace")], {}),
        ([("a.b", None, "replace")], {}),
        ([("a", 1, "replace"), ("a.b", 2, "replace")], {"a": {"b": 2}}),
        ([("a", True, "replace"), ("a", 2, "increment")], {"a": 2}),
    ],
)
def test_metrics_fold(steps: list[tuple[str, Any, str]], result: dict[str, Any]) -> None:
    metrics: dict[str, Any] = {}
    for name, value, mode in steps:
        fold(metrics, name, value, mode)
    assert metrics == result


def test_times_are_written_to_the_microsecond() -> None:
    assert replies.time_text(1_700_000_000_000_001) == b"2023-11-14T22:13:20.000001Z"
    assert replies.time_text(1_700_000_001_999_999) == b"2023-11-14T22:13:21.999999Z"


def test_long_inputs_are_not_shown() -> None:
    assert b"input" not in replies.render(Prediction("p", b'"p"', b"", 1))


# Streams

pytest_anyio = pytest.mark.anyio


@pytest_anyio
async def test_what_is_remembered_is_bounded_by_count() -> None:
    stream = sse.Stream(3)
    stream.publish([b"event: a\n\n", b"event: b\n\n", b"event: c\n\n"])
    reader = stream.attach()
    assert reader.take() == b"event: a\n\nevent: b\n\nevent: c\n\n"
    stream.publish([b"event: d\n\n"], last=True)
    assert (reader.take(), reader.closed) == (b"event: d\n\n", True)
    late = stream.attach(ended=True)
    assert b'"skipped":1' in late.take()
    assert late.closed


@pytest_anyio
async def test_without_memory_there_are_only_live_events() -> None:
    stream = sse.Stream(0)
    stream.publish([b"event: a\n\n"])
    reader = stream.attach()
    assert reader.take() == b""
    stream.publish([b"event: b\n\n"], last=True)
    assert (reader.take(), reader.closed) == (b"event: b\n\n", True)


@pytest_anyio
async def test_a_reader_who_does_not_keep_up_is_told_and_left_behind() -> None:
    stream = sse.Stream(1)
    slow, quick = stream.attach(), stream.attach()
    for _ in range(20):
        stream.publish([b"x" * 1024 * 1024 + b"\n\n"])
        quick.take()
    assert slow.closed
    assert b"SSE stream lagged; events were dropped" in slow.take()
    assert not quick.closed


@pytest_anyio
async def test_as_many_read_as_may() -> None:
    stream = sse.Stream(1)
    readers = [stream.attach() for _ in range(sse.MAX_READERS)]
    with pytest.raises(sse.TooManyReaders):
        stream.attach()
    stream.detach(readers[0])
    stream.attach()
