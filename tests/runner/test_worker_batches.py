"""Predictions that one call answers: who is with whom, what stays each one's own, and how they end.

Who was with whom is told by what the model saw. `max_wait_ms` is far longer than a test may take, or so short that all
it shows is that nobody waits for ever.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.runner.harness import MODELS, Frame, Worker, worker

BOTH = pytest.mark.parametrize("kind", ["Runner", "Async"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(MODELS / "batches.py", tmp_path)
    return tmp_path


def until_there(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} is not there"
        time.sleep(0.002)


def metrics(one: Worker, prediction: str) -> dict[str, object]:
    return {frame["name"]: frame["value"] for frame in one.of("metric", prediction)}


def wish(one: Worker, **wishes: str) -> None:
    for prediction, what in wishes.items():
        one.start(prediction, {"wish": what})


def ends(one: Worker, *predictions: str) -> list[Frame]:
    return [one.end_of(prediction) for prediction in predictions]


# Who is with whom


@pytest.mark.parametrize("ref", ["batches.py:together", "batches.py:together_async"])
def test_a_full_batch_runs_in_the_order_in_which_its_predictions_came(ref: str) -> None:
    with worker(ref) as one:
        for number in range(7):
            one.start(f"p{number}", {"text": f"t{number}"} | ({"times": 2} if number == 1 else {}))
        outputs = [frame["output"] for frame in ends(one, *(f"p{number}" for number in range(6)))]
        assert [output["own"] for output in outputs] == ["t0", "t1t1", "t2", "t3", "t4", "t5"]
        assert [output["call"] for output in outputs] == [1, 1, 1, 2, 2, 2]
        assert [output["all"] for output in outputs] == [["t0", "t1", "t2"]] * 3 + [["t3", "t4", "t5"]] * 3
        assert [metrics(one, f"p{number}") for number in range(6)] == [{"batch_size": 3}] * 6
        assert not one.of("started", "p6")


@pytest.mark.parametrize("ref", ["batches.py:soon", "batches.py:soon_async"])
def test_what_is_alone_waits_its_time_and_no_longer(ref: str) -> None:
    with worker(ref) as one:
        for number in range(3):
            assert one.output({"text": "alone"}, f"p{number}") == ["alone"]
            assert metrics(one, f"p{number}") == {"batch_size": 1}


@pytest.mark.parametrize("ref", ["batches.py:together", "batches.py:together_async"])
def test_a_batch_starts_at_once_when_nothing_else_can_come(ref: str) -> None:
    with worker(ref, concurrency=2) as one:
        assert one.of("ready", None)[0]["concurrency"] == 2
        for name in "ab":
            one.start(name, {"text": name})
        assert [frame["output"]["all"] for frame in ends(one, "a", "b")] == [["a", "b"]] * 2
    with worker(ref, concurrency=1) as one:
        assert one.output({"text": "x"})["all"] == ["x"]


@BOTH
def test_the_next_batch_fills_while_one_runs(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        assert one.of("ready", None)[0]["concurrency"] == 4
        wish(one, a="sleep", b="x")
        until_there(root / "begun")
        wish(one, c="y", d="z")
        assert not one.of("started", "c")
        (root / "go").touch()
        assert [frame["kind"] for frame in ends(one, "a", "b", "c", "d")] == ["done"] * 4
        assert metrics(one, "c") == metrics(one, "d") == {"batch_size": 2}


@BOTH
def test_what_trains_runs_alone_and_hurries_those_before_it(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="x")
        one.send(kind="train", id="t", input={"rounds": 2})
        wish(one, b="y", c="z")
        assert [frame["output"] for frame in ends(one, "a", "t", "b", "c")] == ["x", "trained 2", "y", "z"]
        assert metrics(one, "a") == {"batch_size": 1}
        assert metrics(one, "t") == {}


@BOTH
def test_what_brings_secrets_is_in_no_batch_with_others(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="x")
        one.start("s", {"wish": "y"}, secrets={"wish": "print"})
        wish(one, b="y", c="z")
        assert [frame["output"] for frame in ends(one, "a", "s", "b", "c")] == ["x", "print", "y", "z"]
        assert [metrics(one, name)["batch_size"] for name in ("a", "s", "b", "c")] == [1, 1, 2, 2]
        assert "printed" in one.text("s")
        assert [one.text(name) for name in ("a", "b", "c")] == [""] * 3


@BOTH
def test_a_shutdown_hurries_those_who_wait(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, b="y", c="z")
        ends(one, "b", "c")
        wish(one, a="x")
        one.send(kind="shutdown", grace=30)
        assert one.end_of("a")["output"] == "x"
        assert one.exit_code() == 0


def test_in_train_mode_nothing_is_batched(root: Path) -> None:
    with worker("batches.py:Runner", root=root, mode="train") as one:
        assert one.of("ready", None)[0]["concurrency"] == 1
        assert one.output({"rounds": 1}) == "trained 1"


# Ends


@BOTH
def test_an_item_that_is_an_error_fails_its_own_prediction_only(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="error", b="fine", c="caught", d="object")
        failed, fine, caught, strange = ends(one, "a", "b", "c", "d")
        assert (failed["kind"], failed["error"]) == ("failed", "ValueError: no such wish")
        assert (fine["kind"], fine["output"]) == ("done", "fine")
        assert caught["error"] == "LookupError: not there"
        assert 'raise LookupError("not there")' in caught["traceback"]
        assert strange["kind"] == "failed"
        assert "object" in strange["error"]
        assert metrics(one, "a") == metrics(one, "b") == {"batch_size": 2}


@BOTH
@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("raise", "RuntimeError: the whole batch"),
        ("short", "a list of 2 was wanted, a list of 1 came"),
        ("text", "a list of 2 was wanted, a str came"),
        ("generator", "a list of 2 was wanted, a generator came"),
    ],
)
def test_what_is_wrong_with_all_fails_all(root: Path, kind: str, what: str, error: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a=what, b="fine")
        assert [frame["kind"] for frame in ends(one, "a", "b")] == ["failed", "failed"]
        assert all(error in frame["error"] for frame in ends(one, "a", "b"))
        wish(one, c="still", d="there")
        assert [frame["output"] for frame in ends(one, "c", "d")] == ["still", "there"]


@BOTH
def test_an_input_that_is_missing_fails_alone(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        one.start("a", {})
        wish(one, b="fine")
        failed, fine = ends(one, "a", "b")
        assert failed["error"] == "input 'wish' is required"
        assert fine["output"] == "fine"
        assert metrics(one, "b") == {"batch_size": 1}
        one.start("c", {})
        one.start("d", {})
        assert [frame["error"] for frame in ends(one, "c", "d")] == ["input 'wish' is required"] * 2


# What is each one's own


@BOTH
def test_what_is_printed_and_measured_is_in_each_prediction_of_the_batch(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        one.start("a", {"wish": "print"}, context={"trace": "1", "who": "ann"})
        one.start("b", {"wish": "x"}, context={"trace": "1", "who": "bob"})
        ends(one, "a", "b")
        for prediction in "ab":
            assert [one.text(prediction).count(said) for said in ("by a child", "by a thread", "printed")] == [1] * 3
            assert metrics(one, prediction)["context"] == {"trace": "1"}
            told = [(f["value"], f["mode"]) for f in one.of("metric", prediction) if f["name"] == "tokens"]
            assert told == [(2, "replace"), (3, "increment")]
        wish(one, c="x", d="y")
        ends(one, "c", "d")
        assert one.text("c") == one.text("d") == one.text(None) == ""


@pytest.mark.parametrize("ref", ["batches.py:files", "batches.py:files_async"])
def test_files_go_in_and_come_out_apart(root: Path, ref: str) -> None:
    (root / "go").touch()
    with worker(ref, root=root) as one:
        one.start("a", {"image": "data:text/plain,aa"})
        one.start("b", {"image": "data:text/plain,bb", "name": "b.txt"})
        for prediction, text, name in (("a", "aa2", "out.txt"), ("b", "bb2", "b.txt")):
            (file,) = one.end_of(prediction)["files"]
            assert f"/predictions/{prediction}/" in file["path"]
            assert Path(file["path"]).name == name
            assert Path(file["path"]).read_text() == text
        assert sorted(path.name for path in (one.scratch / "predictions").iterdir()) == ["a", "b"]


def test_a_file_that_cannot_be_had_fails_its_own_prediction(root: Path) -> None:
    (root / "go").touch()
    with worker("batches.py:files", root=root) as one:
        one.start("a", {"image": "data:nothing"})
        one.start("b", {"image": "data:text/plain,bb"})
        assert "input 'image' could not be fetched" in one.end_of("a")["error"]
        assert Path(one.end_of("b")["files"][0]["path"]).read_text() == "bb1"


def test_one_value_in_place_of_a_list_is_a_list_of_one_for_each_prediction() -> None:
    with worker("batches.py:words") as one:
        one.start("a", {"text": "one two"})
        one.start("b", {"text": "alone"})
        assert [frame["output"] for frame in ends(one, "a", "b")] == [["one", "two"], ["alone"]]


# Cancelling


@BOTH
def test_who_is_cancelled_while_waiting_leaves_the_batch(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="x")
        one.send(kind="cancel", id="a")
        assert one.end_of("a")["kind"] == "canceled"
        wish(one, b="y", c="z")
        assert [frame["output"] for frame in ends(one, "b", "c")] == ["y", "z"]


@BOTH
def test_who_is_cancelled_while_the_batch_runs_ends_at_once_and_the_others_go_on(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="sleep", b="x")
        until_there(root / "begun")
        one.send(kind="cancel", id="a")
        assert one.end_of("a")["kind"] == "canceled"
        assert not one.of("done", "b")
        (root / "go").touch()
        assert one.end_of("b")["output"] == "x"
        assert len(one.of("canceled", "a")) == 1
        assert one.of("done", "a") == []


@BOTH
def test_when_all_are_cancelled_the_run_is_interrupted(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="sleep", b="x")
        until_there(root / "begun")
        one.send(kind="cancel", id="b")
        one.send(kind="cancel", id="a")
        assert [frame["kind"] for frame in ends(one, "a", "b")] == ["canceled", "canceled"]
        wish(one, c="y", d="z")  # nobody ever says "go": it was stopped
        assert [frame["output"] for frame in ends(one, "c", "d")] == ["y", "z"]


@pytest.mark.parametrize("ref", ["batches.py:files", "batches.py:files_async"])
def test_the_files_of_one_who_left_stay_until_the_batch_is_over(root: Path, ref: str) -> None:
    if ref.endswith("async"):
        (root / "go").touch()  # it blocks its loop, which then hears of no cancel
    with worker(ref, root=root) as one:
        one.start("a", {"image": "data:text/plain,aa"})
        one.start("b", {"image": "data:text/plain,bb"})
        until_there(root / "begun")
        one.send(kind="cancel", id="a")
        one.end_of("a")
        shutil.rmtree(one.scratch / "predictions" / "a", ignore_errors=True)  # as whoever supervises does
        (root / "go").touch()
        assert Path(one.end_of("b")["files"][0]["path"]).read_text() == "bb2"


@BOTH
def test_a_shutdown_without_grace_cancels_those_who_wait_and_those_who_run(root: Path, kind: str) -> None:
    with worker(f"batches.py:{kind}", root=root) as one:
        wish(one, a="sleep", b="x")
        until_there(root / "begun")
        wish(one, c="y")
        one.send(kind="shutdown", grace=0)
        assert [frame["kind"] for frame in ends(one, "a", "b", "c")] == ["canceled"] * 3
        assert one.exit_code() == 0


def test_a_batch_outlives_its_link(root: Path) -> None:
    with worker("batches.py:Runner", root=root, reconnect_seconds=30) as one:
        wish(one, a="sleep", b="x")
        until_there(root / "begun")
        one.hang_up()
        one.listen_again(after=0)
        hello = one.accept()
        assert sorted(hello["running"]) == ["a", "b"]
        (root / "go").touch()
        assert [frame["kind"] for frame in ends(one, "a", "b")] == ["done", "done"]


# Refusals


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "parameter 'value': a @batch function takes a list with one value for each prediction"),
        ("wrong_output", "a @batch function returns a list with one result for each prediction: list[int], not int"),
    ],
)
def test_a_function_that_does_not_speak_of_lists_fails_setup(name: str, reason: str) -> None:
    with worker(f"batches.py:{name}", ready=False) as one:
        frame = one.ready()
        assert frame["kind"] == "setup_failed"
        assert reason in frame["error"]


def test_the_schema_speaks_of_one_prediction() -> None:
    with worker("batches.py:numbers") as one:
        (ready,) = one.of("ready", None)
        schemas = ready["schema"]["components"]["schemas"]
        assert schemas["Input"]["properties"]["value"]["type"] == "integer"
        assert schemas["Output"] == {"title": "Output", "type": "integer"}
        assert ready["schema"]["x-modelyard-batch"] == {"max_size": 8, "max_wait_ms": 10}
        assert json.dumps(one.output({"value": 3.0})) == "6"
