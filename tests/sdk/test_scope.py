"""The scope of a prediction: whose it is, and what a metric may be called and hold."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from cog import BaseRunner, current_scope, scope
from cog.scope import Scope

Recorded = list[tuple[str, object, str]]


@pytest.fixture
def recorded() -> Recorded:
    return []


@pytest.fixture
def made(recorded: Recorded) -> Scope:
    return Scope({"token": "x"}, lambda *metric: recorded.append(metric))


def test_outside_of_a_prediction_nothing_is_recorded_and_nothing_fails() -> None:
    found = current_scope()
    found.record_metric("not a name!", object())
    found.metrics["x"] = 1
    del found.metrics["x"]
    assert dict(found.metrics) == {}
    assert found.context == {}


def test_a_scope_is_current_inside_its_block_alone(made: Scope) -> None:
    other = Scope()
    with scope.use(made):
        assert current_scope() is made
        with scope.use(other):
            assert current_scope() is other
        assert current_scope() is made
    assert current_scope() is not made


def test_tasks_and_threads_have_scopes_of_their_own(made: Scope) -> None:
    seen: list[Scope] = []

    async def one(mine: Scope) -> bool:
        with scope.use(mine):
            await asyncio.sleep(0)
            return current_scope() is mine

    async def both() -> list[bool]:
        return await asyncio.gather(one(made), one(Scope()))

    assert asyncio.run(both()) == [True, True]
    with scope.use(made):
        plain = threading.Thread(target=lambda: seen.append(current_scope()))
        copied = threading.Thread(target=contextvars.copy_context().run, args=(lambda: seen.append(current_scope()),))
        for thread in (plain, copied):
            thread.start()
            thread.join()
    assert [found is made for found in seen] == [False, True]


def test_metrics_are_told_in_order_and_can_be_read_back(made: Scope, recorded: Recorded) -> None:
    made.record_metric("tokens.out", 1)
    made.record_metric("tokens.out", 2, mode="incr")
    made.metrics["name"] = "a"
    made.record_metric("steps", 1, "append")
    made.record_metric("steps", 2, "append")
    assert recorded == [
        ("tokens.out", 1, "replace"),
        ("tokens.out", 2, "increment"),
        ("name", "a", "replace"),
        ("steps", 1, "append"),
        ("steps", 2, "append"),
    ]
    assert dict(made.metrics) == {"tokens.out": 3, "name": "a", "steps": [1, 2]}


def test_none_and_del_forget_a_metric(made: Scope, recorded: Recorded) -> None:
    made.metrics["a"] = 1
    made.metrics["a"] = None
    made.metrics["b"] = 1
    del made.metrics["b"]
    made.metrics.delete("never_there")
    made.metrics["a"] = "of another type now"
    assert recorded[1] == ("a", None, "replace")
    assert recorded[3] == ("b", None, "replace")
    assert dict(made.metrics) == {"a": "of another type now"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "metric name must not be empty"),
        ("a" * 129, r"metric name must be 128 characters or fewer \(got 129 characters\)"),
        ("a.b.c.d.e", r"metric name must have at most 4 dot-separated segments \(got 5\)"),
        (".a", "metric name must not start with a dot"),
        ("a.", "metric name must not end with a dot"),
        ("a..b", r"metric name must not contain empty segments \(consecutive dots\)"),
        ("_a", "metric name segment '_a' must start with a letter"),
        ("a.1", "metric name segment '1' must start with a letter"),
        ("a-b", "metric name segment 'a-b' contains invalid character '-'"),
        ("a__b", "metric name segment 'a__b' must not contain consecutive underscores"),
        ("a_", "metric name segment 'a_' must end with a letter or digit"),
        ("é", "metric name segment 'é' must start with a letter"),
        ("a\n", r"contains invalid character '\\n'"),
        ("predict_time", "'predict_time' is reserved by the runtime"),
        ("cog.x", "the 'cog.' prefix is reserved for system metrics"),
    ],
)
def test_a_bad_name_is_refused(made: Scope, recorded: Recorded, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        made.metrics[name] = 1
    assert recorded == []


def test_reserved_names_can_be_deleted(made: Scope) -> None:
    made.metrics.delete("predict_time")
    with pytest.raises(ValueError, match="must not be empty"):
        made.metrics.delete("")


def test_a_metric_keeps_its_type(made: Scope) -> None:
    made.metrics["n"] = 1
    made.metrics["n"] = 1.5
    made.metrics["s"] = "text"
    with pytest.raises(TypeError, match="metric 'n' is a number and cannot become a str; delete it first"):
        made.metrics["n"] = "text"
    with pytest.raises(TypeError, match="cannot become a bool"):
        made.metrics["n"] = True
    with pytest.raises(TypeError, match="append needs a list"):
        made.record_metric("n", 1, "append")
    with pytest.raises(TypeError, match="cannot become a number"):
        made.record_metric("s", 1, "increment")
    with pytest.raises(TypeError, match="by a number only, not by a str"):
        made.record_metric("n", "1", "increment")
    with pytest.raises(ValueError, match="metric mode 'add' is unknown"):
        made.record_metric("n", 1, "add")


def test_a_name_is_a_value_or_a_parent_and_not_both(made: Scope) -> None:
    made.metrics["a"] = 1
    with pytest.raises(ValueError, match=r"metric 'a\.b' cannot be recorded beside metric 'a'"):
        made.metrics["a.b"] = 1


class Scalar:
    """What array libraries give for a single number."""

    ndim = 0

    def item(self) -> float:
        return 2.5


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, True),
        ([1, (2, None)], [1, [2, None]]),
        ({"a": Scalar(), 1: None}, {"a": 2.5, "1": None}),
        (Scalar(), 2.5),
    ],
)
def test_values_are_kept_as_json_has_them(made: Scope, recorded: Recorded, value: Any, kept: Any) -> None:
    made.metrics["x"] = value
    assert recorded == [("x", kept, "replace")]


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], object(), b"bytes", {"a": {1, 2}}])
def test_values_that_json_cannot_carry_are_refused(made: Scope, value: Any) -> None:
    with pytest.raises(ValueError, match="metric 'x'"):
        made.metrics["x"] = value


def test_a_model_reaches_its_scope_through_itself(made: Scope, recorded: Recorded) -> None:
    class Runner(BaseRunner):
        def run(self) -> str:
            self.record_metric("n", 1)
            return self.scope.context["token"]

    with scope.use(made):
        assert Runner().run() == "x"
    assert recorded == [("n", 1, "replace")]
