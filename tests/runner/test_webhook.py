"""Webhooks of a real server: which, when, how often, and until when."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from receiver import Received, receiver
from serving import server

from modelyard_runner import frames
from modelyard_runner.prediction import Prediction
from modelyard_runner.webhook import Hook, Sender


def run_py(folder: Path, text: str) -> Path:
    (folder / "run.py").write_text("import time\nfrom typing import Iterator\n" + text)
    return folder


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    return run_py(
        tmp_path,
        "def run(n: int = 3, pause: float = 0.05) -> Iterator[str]:\n"
        "    for i in range(n):\n"
        "        print('line', i)\n"
        "        time.sleep(pause)\n"
        "        yield str(i)\n",
    )


def statuses(requests: list[Received]) -> list[str]:
    return [request.json["status"] for request in requests]


def test_all_events_are_sent_in_order_unless_told_otherwise(chatty: Path) -> None:
    with receiver() as hook, server("run.py:run", root=chatty, WEBHOOK_AUTH_TOKEN="t0k") as one:
        headers = {"traceparent": "00-abc-def-01", "tracestate": "x=1", "cookie": "no"}
        told = one.predict({}, headers, webhook=hook.url + "/hook", id="w1").json
        requests = hook.wait(6)
        assert requests[0].json["status"] == "processing"
        assert "output" not in requests[0].json
        outputs = [request.json["output"] for request in requests if "output" in request.json]
        assert outputs[-1] == ["0", "1", "2"]
        assert sorted(outputs, key=len) == outputs
        assert statuses(requests)[-1] == "succeeded"
        assert requests[-1].json == told
        first = requests[0]
        assert first.path == "/hook"
        assert first.headers["content-type"] == "application/json"
        assert first.headers["authorization"] == "Bearer t0k"
        assert first.headers["user-agent"].startswith("modelyard/")
        assert first.headers["traceparent"] == "00-abc-def-01"
        assert first.headers["tracestate"] == "x=1"
        assert "cookie" not in first.headers


def test_a_filter_chooses_events_and_an_empty_one_none(chatty: Path) -> None:
    with receiver() as hook, server("run.py:run", root=chatty) as one:
        one.predict({"n": 1}, webhook=hook.url, webhook_events_filter=["completed"])
        assert statuses(hook.wait(1)) == ["succeeded"]
        one.predict({"n": 1}, webhook=hook.url, webhook_events_filter=[])
        one.predict({"n": 1}, webhook=hook.url, webhook_events_filter=["start", "completed"])
        assert statuses(hook.wait(3)) == ["succeeded", "processing", "succeeded"]


def test_logs_are_throttled(chatty: Path) -> None:
    with receiver() as hook, server("run.py:run", root=chatty, COG_THROTTLE_RESPONSE_INTERVAL="600") as one:
        one.predict({"n": 12}, webhook=hook.url, webhook_events_filter=["logs", "completed"])
        assert statuses(hook.wait(2)) == ["processing", "succeeded"]  # of twelve lines the first


def test_logs_of_a_long_run_are_sent_again_and_again(chatty: Path) -> None:
    with receiver() as hook, server("run.py:run", root=chatty, COG_THROTTLE_RESPONSE_INTERVAL="0.1") as one:
        one.predict({"n": 12}, webhook=hook.url, webhook_events_filter=["logs"])
        logs = [request.json["logs"] for request in hook.wait(2)]
        assert logs[1].startswith(logs[0])
        assert len(logs[1]) > len(logs[0])


def test_the_last_one_is_sent_until_it_is_taken_and_holds_nobody_up(chatty: Path) -> None:
    answers = [503, 500, 429, 200]
    with receiver(lambda _: (answers.pop(0), {})) as hook, server("run.py:run", root=chatty) as one:
        began = time.monotonic()
        one.predict({"n": 1}, webhook=hook.url, webhook_events_filter=["completed"])
        assert one.health()["status"] == "READY"
        assert one.predict({"n": 1}).status == 200
        requests = hook.wait(4)
        assert len({request.body for request in requests}) == 1
        assert requests[-1].at - began > 0.6


def warnings(text: str, wanted: int) -> list[str]:
    told = [line for line in text.splitlines() if line.startswith("WARNING modelyard_runner.webhook")]
    found = [line.partition(": ")[2] for line in told]
    assert len(found) == wanted, text
    return found


def test_what_is_not_taken_is_told_with_its_prediction_its_address_and_each_try(chatty: Path) -> None:
    answers = [503, 503, 503, 500, 200]
    with receiver(lambda _: (answers.pop(0), {})) as hook, server("run.py:run", root=chatty) as one:
        address = hook.url.replace("//", "//me:pw@") + "/hook"
        one.predict({"n": 2}, id="w7", webhook=f"{address}?key=s3cret", webhook_events_filter=["output", "completed"])
        hook.wait(5)
        lines = warnings(one.text(), 3)
    assert all(line.startswith(f"webhook of prediction w7 to {hook.url}/hook: ") for line in lines)
    assert [line.rpartition("/hook: ")[2] for line in lines] == [
        "try 1 of 1 failed: status 503; of further ones before the outcome nothing is said",
        "try 1 of 13 to send the outcome failed: status 503; the next in 0.1 s",
        "try 2 of 13 to send the outcome failed: status 500; the next in 0.2 s",
    ]


def test_what_is_given_up_is_told_once_with_the_reason(chatty: Path) -> None:
    with receiver(lambda _: (404, {})) as hook, server("run.py:run", root=chatty) as one:
        one.predict({"n": 1}, webhook=hook.url, webhook_events_filter=["completed"])
        hook.wait(1)
        assert one.stop_politely() == 0
        assert warnings(one.text(), 1)[0].endswith(": the outcome is given up: status 404, which is final")


def test_an_outcome_that_nobody_takes_is_given_up_when_the_server_stops(chatty: Path) -> None:
    with server("run.py:run", root=chatty) as one:
        nobody = "http://127.0.0.1:9/?key=s3cret"
        one.predict({"n": 1}, webhook=nobody, webhook_events_filter=["completed"])
        until = time.monotonic() + 20
        while "try 2 of 13" not in one.text():
            assert time.monotonic() < until
            time.sleep(0.02)
        one.process.terminate()
        one.process.terminate()
        assert one.process.wait(30) == 0
        text = one.text()
    assert "failed: Connection refused; " in text or "failed: Connect call failed" in text
    assert text.rstrip().endswith("to http://127.0.0.1:9/: given up: the server stops")
    assert "s3cret" not in text


def test_a_refusal_is_final(chatty: Path) -> None:
    with receiver(lambda _: (404, {})) as hook, server("run.py:run", root=chatty) as one:
        one.predict({"n": 1}, webhook=hook.url, webhook_events_filter=["completed"])
        hook.wait(1)
        time.sleep(0.4)
        assert len(hook.requests) == 1


def test_what_is_no_address_is_ignored(chatty: Path) -> None:
    with server("run.py:run", root=chatty) as one:
        for address in ("nonsense", "ftp://x/y", "http://", "http://[", "http://no-such-host.invalid/x"):
            assert one.predict({"n": 1}, webhook=address).json["status"] == "succeeded"
        assert "a webhook is ignored" in one.text()
        # It would go on trying to reach the last one for a while.
        one.process.kill()


def test_asynchronous_predictions_report_their_failure(tmp_path: Path) -> None:
    root = run_py(tmp_path, "def run() -> str:\n    raise ValueError('no')\n")
    with receiver() as hook, server("run.py:run", root=root) as one:
        sent = one.predict({}, {"Prefer": "respond-async"}, webhook=hook.url, webhook_events_filter=["completed"])
        assert sent.status == 202
        told = hook.wait(1)[0].json
        assert (told["status"], told["error"]) == ("failed", "Prediction failed: ValueError: no")
        assert "Traceback" in told["logs"]


def test_each_piece_has_its_webhook_over_one_connection(chatty: Path) -> None:
    with receiver() as hook, server("run.py:run", root=chatty) as one:
        one.predict({"n": 100, "pause": 0}, webhook=hook.url, webhook_events_filter=["output", "completed"])
        requests = hook.wait(101)
    assert [len(request.json["output"]) for request in requests] == [*range(1, 101), 100]
    assert statuses(requests) == ["processing"] * 100 + ["succeeded"]
    assert len({request.port for request in requests}) == 1


def test_a_receiver_that_is_slower_than_the_model_does_not_hold_it_up(chatty: Path) -> None:
    def slow(_: Received) -> tuple[int, dict[str, str]]:
        time.sleep(0.01)
        return 200, {}

    with receiver(slow) as hook, server("run.py:run", root=chatty) as one:
        one.predict({"n": 100, "pause": 0}, webhook=hook.url, webhook_events_filter=["output"])
        assert len(hook.requests) < 50  # the rest comes after the reply
        assert [len(request.json["output"]) for request in hook.wait(100)] == list(range(1, 101))


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has loaded is read from /proc")
def test_the_client_of_webhooks_is_loaded_by_the_first_that_has_one(chatty: Path) -> None:
    with receiver() as hook, server("run.py:run", root=chatty) as one:
        loaded = Path(f"/proc/{one.process.pid}/maps")
        one.predict({"n": 1})
        assert "aiohttp" not in loaded.read_text()
        one.predict({"n": 1}, webhook=hook.url)
        hook.wait(3)
        assert "aiohttp" in loaded.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_the_client_of_uploads_is_loaded_at_the_start(chatty: Path) -> None:
    with server("run.py:run", "--upload-url", "http://127.0.0.1:9/", root=chatty) as one:
        until = time.monotonic() + 20
        while "aiohttp" not in Path(f"/proc/{one.process.pid}/maps").read_text():
            assert time.monotonic() < until
            time.sleep(0.01)


# The sender by itself

pytest_anyio = pytest.mark.anyio


@asynccontextmanager
async def sending(url: str, close: float = 20, **options: Any) -> AsyncIterator[tuple[Prediction, Hook]]:
    """A prediction that runs, and its webhook; at the end all that is to be sent was sent."""
    async with aiohttp.ClientSession() as session:

        async def client() -> aiohttp.ClientSession:
            return session

        sender = Sender(client, headers={}, throttle=0, **options)
        prediction = Prediction("p", b'"p"', b"{}", 1)
        prediction.apply(frames.Started(id="p"), 2)
        hook = sender.open(prediction, url, ["output", "completed"], {})
        assert hook is not None
        yield prediction, hook
        await sender.close(close)


def add(prediction: Prediction, hook: Hook, count: int) -> None:
    for number in range(count):
        prediction.apply(frames.Output(id="p", values=msgspec.Raw(b"[%d]" % number)), 3)
        hook.tell("output")


@pytest_anyio
async def test_of_more_than_may_wait_the_newest_is_sent() -> None:
    with receiver() as told:
        async with sending(told.url, most=5) as (prediction, hook):
            add(prediction, hook, 50)
        assert [request.json["output"] for request in told.requests] == [list(range(n)) for n in (1, 2, 3, 4, 50)]


@pytest_anyio
async def test_what_waits_too_long_after_the_end_is_left_out_but_never_the_outcome() -> None:
    with receiver() as told:
        async with sending(told.url, lateness=1e-9) as (prediction, hook):
            add(prediction, hook, 50)
            prediction.apply(frames.Done(id="p", iterator=True, seconds=1), 4)
            hook.tell("completed")
        assert statuses(told.requests) == ["succeeded"]
        assert told.requests[0].json["output"] == list(range(50))


@pytest_anyio
async def test_a_server_that_ends_sends_outcomes_before_it_is_too_late() -> None:
    def slow(_: Received) -> tuple[int, dict[str, str]]:
        time.sleep(0.05)
        return 200, {}

    with receiver(slow) as told:
        async with sending(told.url, close=2.0) as (prediction, hook):
            add(prediction, hook, 1000)
            prediction.apply(frames.Done(id="p", iterator=True, seconds=1), 4)
            hook.tell("completed")
        assert 2 <= len(told.requests) < 1000
        assert statuses(told.requests)[-1] == "succeeded"
