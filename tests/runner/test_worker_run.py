"""A worker loads a model, sets it up once and runs it: every kind of function, setup and answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner.harness import BOX, MODELS, worker


@pytest.mark.parametrize(
    ("ref", "value", "output"),
    [
        ("basic.py:hello", {"text": "x"}, "hello x"),
        ("basic.py:Runner", {}, "hello you 1"),
        ("basic.py:OldStyle", {"text": "x"}, "old x"),
        ("basic.py:Plain", {}, 2),
        ("basic.py:Inherited", {}, "hello you 1"),
        ("basic.py", {}, "hello you 1"),
        ("nested_entry.py", {}, "x"),
        ("json.py:run", {"n": 3}, 3),
        ("basic.py:async_hello", {"text": "x"}, "hello x"),
        ("basic.py:AsyncSetup", {}, True),
    ],
)
def test_a_model_of_every_kind_answers(ref: str, value: dict[str, object], output: object) -> None:
    with worker(ref) as one:
        assert one.output(value) == output
        assert one.of("done")[0]["seconds"] > 0
        assert one.of("done")[0]["iterator"] is False


def test_setup_runs_once_and_what_it_prints_is_the_setups() -> None:
    with worker("basic.py:Runner") as one:
        assert [one.output(prediction=name) for name in "ab"] == ["hello you 1", "hello you 2"]
        assert one.setup_text() == "setting up\n"
        assert one.text("a") == ""


def test_every_frame_is_numbered_and_the_hello_says_who_it_is() -> None:
    with worker("basic.py:tokens") as one:
        one.run()
        hello, *rest = one.frames
        assert (hello["token"], hello["protocol"], hello["pid"]) == ("secret", 1, one.process.pid)
        assert hello["resumes"] is False
        assert [frame["seq"] for frame in rest] == list(range(1, len(rest) + 1))


def test_ready_says_what_the_model_is() -> None:
    with worker("basic.py:tokens", ready=False) as one:
        ready = one.ready()
        assert ready["streaming"] is True
        assert ready["concurrency"] == 1
        assert ready["schema"]["components"]["schemas"]["Output"]["type"] == "array"
    with worker("basic.py:async_sleep", ready=False) as one:
        assert one.ready()["concurrency"] == 8
    with worker("basic.py:async_sleep", ready=False, concurrency=3) as one:
        assert one.ready()["concurrency"] == 3
    with worker("basic.py:hello", ready=False, concurrency=3) as one:
        assert one.ready()["concurrency"] == 1


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("basic.py:tokens", ["t0 ", "t1 ", "t2 "]),
        ("basic.py:wrapped_generator", ["w0", "w1", "w2"]),
        ("basic.py:async_tokens", ["a0 ", "a1 ", "a2 "]),
    ],
)
def test_items_of_an_iterator_go_out_in_order(ref: str, expected: list[str]) -> None:
    with worker(ref) as one:
        done = one.run({"count": 3})
        assert one.items() == expected
        assert done["iterator"] is True
        assert done["output"] is None


@pytest.mark.parametrize("ref", ["basic.py:tokens", "basic.py:async_tokens"])
def test_a_paced_iterators_items_arrive_as_they_are_made(ref: str) -> None:
    with worker(ref) as one:
        one.start("p1", {"count": 3, "pause": 0.1})
        one.until(lambda frame: frame["kind"] == "output")
        assert one.process.poll() is None
        assert not one.of("done")
        assert len(one.items()) == 1
        one.end_of("p1")
        assert len(one.of("output")) == 3


@pytest.mark.parametrize("ref", ["basic.py:tokens", "basic.py:async_tokens"])
def test_items_that_wait_together_share_frames(ref: str) -> None:
    with worker(ref) as one:
        one.run({"count": 20_000})
        assert len(one.items()) == 20_000
        # How many share one depends on who has a turn: a tenth of this here, where nothing else runs.
        assert len(one.of("output")) < 10_000


def test_started_does_not_wait_for_the_end() -> None:
    with worker("trouble.py:waits") as one:
        one.start("p1")
        one.until(lambda frame: frame["kind"] == "started", timeout=5)


def test_a_quick_prediction_is_one_write() -> None:
    with worker("basic.py:hello") as one:
        one.run({"text": "x"}, "warm")
        before = one.chunks
        for number in range(20):
            one.run({"text": "x"}, f"p{number}")
        assert one.chunks - before <= 30


def test_async_predictions_run_at_the_same_time_and_no_more_than_allowed() -> None:
    with worker("basic.py:async_sleep", concurrency=4) as one:
        for number in range(8):
            one.start(str(number), {"seconds": 0.1, "text": str(number)})
        for number in range(8):
            assert one.end_of(str(number))["output"] == str(number)
        order = [(frame["kind"], frame["id"]) for frame in one.frames if frame["kind"] in ("started", "done")]
        running = most = 0
        for kind, _ in order:
            running += 1 if kind == "started" else -1
            most = max(most, running)
        assert most == 4


def test_sync_predictions_that_wait_run_one_after_the_other() -> None:
    with worker("basic.py:tokens") as one:
        for name in "abc":
            one.start(name, {"count": 2, "pause": 0.02})
        for name in "abc":
            one.end_of(name)
        ends = [frame["id"] for frame in one.frames if frame["kind"] in ("started", "done")]
        assert ends == ["a", "a", "b", "b", "c", "c"]


def test_context_and_metrics_belong_to_the_prediction() -> None:
    with worker("basic.py:context") as one:
        assert one.output(context={"key": "value"}) == {"key": "value"}
        metrics = [(frame["name"], frame["value"], frame["mode"]) for frame in one.of("metric")]
        assert metrics == [("tokens.out", 3, "replace"), ("words", "x", "append")]


def test_a_training_calls_train() -> None:
    with worker("basic.py:RunAndTrain") as one:
        assert one.output() == "ran"
        assert one.run(prediction="t1", kind="train")["output"] == "trained"
    with worker("basic.py:train", mode="train") as one:
        assert one.run({"n": 3}, kind="train")["output"] == 30
    with worker("basic.py:TrainOnly", mode="train") as one:
        assert one.run({"steps": 2}, kind="train")["output"] == "trained 2 True"


def test_a_model_without_train_refuses_to_train() -> None:
    with worker("basic.py:hello") as one:
        assert one.run(kind="train")["error"] == "this model has no train function"


def test_weights_come_as_the_annotation_says() -> None:
    with worker("basic.py:Weights", weights="/some/where") as one:
        assert one.output() == "Path /some/where"
    with worker("basic.py:Weights") as one:
        assert one.output() == "NoneType None"
    with worker("basic.py:Weights", weights="data:text/plain,abc") as one:
        kind, path = one.output().split()
        assert kind == "Path"
        assert path.startswith(str(one.scratch))


def test_the_models_environment_has_no_settings_of_ours_and_its_folder_is_current() -> None:
    with worker("basic.py:environment") as one:
        assert one.output() == [None, str(MODELS)]


def test_health_is_the_models_own_answer() -> None:
    with worker("basic.py:Healthy") as one:
        for state, fault in [
            ("ok", None),
            ("bad", "user-defined healthcheck returned False"),
            ("raise", "RuntimeError: bad gpu"),
        ]:
            one.run({"state": state}, state)
            one.send(kind="healthcheck", id=f"h-{state}")
            health = one.until(lambda frame: frame["kind"] == "health")
            assert health["ok"] is (fault is None)
            assert health["error"] == (fault and f"Healthcheck failed: {fault}")


def test_a_model_without_a_healthcheck_is_well() -> None:
    for ref in ("basic.py:hello", "basic.py:async_hello"):
        with worker(ref) as one:
            one.send(kind="healthcheck", id="h")
            assert one.until(lambda frame: frame["kind"] == "health")["ok"] is True


def test_an_unknown_frame_is_noted_and_ignored() -> None:
    for ref in ("basic.py:hello", "basic.py:async_hello"):
        with worker(ref) as one:
            one.send(kind="dance", id="p0")
            one.send(kind="predict")
            assert one.output({"text": "x"}) == "hello x"
            assert "unknown kind 'dance'" in one.log_text()
            assert "cannot be understood was ignored: KeyError('id')" in one.log_text()


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("trouble.py:SetupFails", "RuntimeError: bad weights"),
        ("trouble.py:SetupExits", "SystemExit: no weights here"),
        ("missing_module.py:run", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("no_such_file.py:run", "no_such_file.py not found in"),
        ("basic.py:NoSuch", "NoSuch not found in basic.py"),
        ("basic.py:Both", "Both must define either run() or predict(), not both"),
        ("basic.py:Neither", "run or predict method not found: Neither"),
    ],
)
def test_a_setup_that_fails_says_why_and_ends_the_worker(ref: str, error: str) -> None:
    with worker(ref, ready=False) as one:
        frame = one.ready()
        assert frame["kind"] == "setup_failed"
        assert error in frame["error"]
        assert frame["traceback"]
        assert one.exit_code() == 1


def test_a_file_that_is_no_python_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run(:\n")
    with worker("run.py:run", ready=False, root=tmp_path) as one:
        frame = one.ready()
        assert frame["error"].startswith("SyntaxError: ")
        assert "def run(:" in frame["traceback"]


def test_what_a_failing_setup_printed_is_kept() -> None:
    with worker("trouble.py:SetupFails", ready=False) as one:
        frame = one.ready()
        assert one.setup_text() == "loading\n"
        assert "bad weights" in frame["traceback"]
        assert "modelyard_runner" not in frame["traceback"]


def test_a_traceback_has_neither_our_lines_nor_the_import_systems(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('x') from error\n"
    )
    (tmp_path / "run.py").write_text(
        "import importlib\nimportlib.import_module('helper')\ndef run() -> str:\n    return ''\n"
    )
    with worker("run.py:run", ready=False, root=tmp_path) as one:
        trace = one.ready()["traceback"]
    files = [line.split('"')[1] for line in trace.splitlines() if line.startswith("  File ")]
    assert [Path(file).name for file in files] == ["helper.py", "run.py", "helper.py"]


def test_a_shutdown_that_comes_with_the_first_prediction_does_not_drop_it(tmp_path: Path) -> None:
    # What the worker still has to load between its `ready` and its first turn takes a while here.
    (tmp_path / "run.py").write_text(
        "import sys, time\n"
        "from cog import batch\n"
        "class Slow:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'modelyard_runner.batch':\n"
        "            time.sleep(0.5)\n"
        "class Runner:\n"
        "    def setup(self):\n"
        "        sys.meta_path.insert(0, Slow())\n"
        "    @batch(max_size=2, max_wait_ms=1)\n"
        "    def run(self, n: list[int]) -> list[int]:\n"
        "        return n\n"
    )
    with worker("run.py:Runner", ready=False, root=tmp_path) as one:
        assert one.ready()["kind"] == "ready"
        one.start("p1", {"n": 3})
        one.send(kind="shutdown", grace=10)
        assert one.end_of("p1")["output"] == 3
        assert one.exit_code() == 0


def test_a_hanging_setup_can_be_shut_down() -> None:
    with worker("trouble.py:SetupHangs", ready=False) as one:
        one.accept()
        one.until(lambda frame: frame["kind"] == "setup")
        one.send(kind="shutdown", grace=0)
        assert one.exit_code() == 0


def test_wrong_options_are_refused_with_a_sentence() -> None:
    for options, fault in [
        ("", "MODELYARD_WORKER: "),
        ('{"link": "unix:/x"}', "missing 4 required"),
        ("[]", "MODELYARD_WORKER: "),
    ]:
        ended = subprocess.run(
            [sys.executable, "-m", "modelyard_runner", "worker"],
            env={"PYTHONPATH": BOX, "MODELYARD_WORKER": options},
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 2
        assert fault in ended.stderr.decode()
        assert "Traceback" not in ended.stderr.decode()
