"""Cog's HTTP API of a real server with a real worker."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, events, server

JSON = {"Content-Type": "application/json"}
SSE = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def hello() -> Iterator[Server]:
    with server("basic.py:Runner") as one:
        yield one


@pytest.fixture(scope="module")
def sleeper() -> Iterator[Server]:
    with server("basic.py:async_sleep", COG_MAX_CONCURRENCY="2") as one:
        yield one


@pytest.fixture(scope="module")
def tokens() -> Iterator[Server]:
    with server("basic.py:tokens", COG_STREAM_HISTORY_CAPACITY="10") as one:
        yield one


# What a server says of itself


def test_the_index_lists_where_things_are(hello: Server) -> None:
    answer = hello.ask("GET", "/")
    assert answer.status == 200
    assert answer.json["predictions_idempotent_url"] == "/predictions/{prediction_id}"
    assert "trainings_url" not in answer.json
    assert hello.ask("HEAD", "/").body == b""


def test_health_tells_state_setup_and_versions(hello: Server) -> None:
    health = hello.health()
    assert health["status"] == "READY"
    assert health["setup"]["status"] == "succeeded"
    assert health["setup"]["logs"] == "setting up\n"
    assert health["setup"]["started_at"] <= health["setup"]["completed_at"]
    assert set(health["version"]) >= {"python", "python_sdk", "coglet"}
    assert "user_healthcheck_error" not in health


def test_the_schema_is_served_once_setup_is_done(hello: Server) -> None:
    document = hello.ask("GET", "/openapi.json").json
    assert document["openapi"] == "3.0.2"
    assert "text" in document["components"]["schemas"]["Input"]["properties"]


def test_unknown_places_and_methods_have_empty_answers(hello: Server) -> None:
    for path in ("/docs", "/predictions/", "/predictions/a/b", "/predictions//cancel", "/v1"):
        assert (hello.ask("GET", path).status, hello.ask("GET", path).body) == (404, b"")
    for path, allow in (("/predictions", "POST"), ("/predictions/x", "PUT"), ("/predictions/x/cancel", "POST")):
        answer = hello.ask("GET", path)
        assert (answer.status, answer.body, answer.headers["allow"]) == (405, b"", allow)


# Predictions


def test_a_prediction_is_answered_with_all_there_is_to_say(hello: Server) -> None:
    answer = hello.predict({"text": "there"})
    assert answer.status == 200
    assert set(answer.headers) == {"date", "content-type", "content-length"}
    told = answer.json
    assert re.fullmatch(r"hello there \d+", told["output"])
    assert told["status"] == "succeeded"
    assert told["input"] == {"text": "there"}
    assert told["logs"] == ""
    assert told["metrics"]["predict_time"] >= 0
    assert told["created_at"] <= told["started_at"] <= told["completed_at"]
    assert told["id"].startswith("pred_")
    assert list(told) == sorted(told)
    assert b", " not in answer.body.replace(b'"text": "there"', b"")


def test_ids_are_names_and_never_paths(tmp_path: Path) -> None:
    with server("files_in.py:describe") as one:
        for id in ("../../../x", "/etc/passwd", "a\nb", "ü" * 50, "."):
            told = one.predict({"path": "data:text/plain,hi"}, id=id).json
            assert (told["id"], told["status"]) == (id, "succeeded")
        answer = one.predict({"path": "data:text/plain,hi"}, id="x" * 2000)
        assert answer.status == 422
        assert answer.json["detail"][0]["loc"] == ["body", "id"]


def test_an_input_that_cannot_be_stored_fails_and_its_id_may_be_used_again(tmp_path: Path) -> None:
    with server("basic.py:Runner", TMPDIR=str(tmp_path)) as one:
        one.until("READY")
        folder = next(tmp_path.glob("modelyard-serve-*")) / "inputs"
        folder.write_text("in its way")
        told = one.ask("PUT", "/predictions/again", {"input": {"text": "x" * 300_000}}).json
        assert (told["status"], told["error"]) == ("failed", "its input cannot be stored: File exists")
        folder.unlink()
        assert one.ask("PUT", "/predictions/again", {"input": {"text": "there"}}).json["status"] == "succeeded"


def test_a_missing_or_null_input_is_empty(hello: Server) -> None:
    for body in (b"{}", b'{"input":null}', b'{"input":{},"created_at":"2020","output_file_prefix":"x"}', b""):
        answer = hello.ask("POST", "/predictions", body, JSON)
        assert answer.json.get("output", "").startswith("hello you"), (body, answer.body)


def test_json_is_read_without_a_content_type_and_refused_with_another(hello: Server) -> None:
    assert hello.ask("POST", "/predictions", b'{"input":{"text":"no type"}}').json["input"] == {"text": "no type"}
    answer = hello.ask("POST", "/predictions", b"{}", {"Content-Type": "text/plain"})
    assert answer.status == 415
    assert "Expected request with `Content-Type: application/json`" in answer.json["detail"]
    assert hello.ask("POST", "/predictions", b"{}", {"Content-Type": "Application/JSON; charset=utf-8"}).status == 200


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "Failed to parse the request body as JSON: "),
        (b"\xff", 400, "Failed to parse the request body as JSON: "),
        (b'{"input":' + b"[" * 100_000, 400, "Failed to parse the request body as JSON: "),
        (b"[]", 422, "invalid type: sequence, expected an object"),
        (b'{"id":5}', 422, "id: invalid type: integer `5`, expected a string"),
        (b'{"webhook":true}', 422, "webhook: invalid type: boolean `true`, expected a string"),
        (b'{"webhook_events_filter":["zz"]}', 422, "webhook_events_filter[0]: unknown variant `zz`, expected one of"),
        (b'{"webhook_events_filter":"start"}', 422, 'webhook_events_filter: invalid type: string \\"start\\"'),
        (b'{"context":{"a":1}}', 422, "context.a: invalid type: integer `1`, expected a string"),
        (b'{"input":"x"}', 422, 'is not of type \\"object\\"'),
        (b'{"input":[1]}', 422, 'is not of type \\"object\\"'),
        (b'{"input":{"text":5}}', 422, '5 is not of type \\"string\\"'),
    ],
)
def test_a_bad_body_is_refused_by_name(hello: Server, body: bytes, status: int, said: str) -> None:
    answer = hello.ask("POST", "/predictions", body, JSON)
    assert answer.status == status
    assert said in answer.body.decode()


def test_every_fault_of_an_input_is_told_by_field() -> None:
    with server("basic.py:number_kinds") as one:
        answer = one.predict({"i": "3", "f": True, "many": [1, "x"]})
        assert answer.status == 422
        assert answer.json == {
            "detail": [
                {"loc": ["body", "input", "f"], "msg": 'true is not of type "number"', "type": "value_error"},
                {"loc": ["body", "input", "i"], "msg": '"3" is not of type "integer"', "type": "value_error"},
                {"loc": ["body", "input", "many/1"], "msg": '"x" is not of type "integer"', "type": "value_error"},
            ]
        }
        missing = one.predict({"i": 1}).json["detail"]
        assert missing == [{"loc": ["body", "input", "f"], "msg": "Field required", "type": "value_error.missing"}]
        assert one.predict({"i": 3.0, "f": 2, "n": None}).json["output"] == "3 2.0 None [1, 0]"
        assert one.predict({"i": 3, "f": 2, "unknown": 1}).json["status"] == "succeeded"


def test_secrets_are_not_shown() -> None:
    with server("basic.py:secret") as one:
        told = one.predict({"token": "hush"}).json
        assert told["input"] == {"token": "**********"}
        assert told["output"] == ["**********", "hush"]


def test_numbers_keep_their_digits() -> None:
    with server("basic.py:Plain") as one:
        assert b'"output":12345678901234567891}' in one.predict({"n": 12345678901234567890}).body.replace(b",", b"}")


def test_a_failure_ends_with_its_own_words_and_has_its_traceback_in_the_logs() -> None:
    with server("trouble.py:fails") as one:
        answer = one.predict({"text": "boom"})
        assert answer.status == 200
        told = answer.json
        assert (told["status"], told["error"]) == ("failed", "Prediction failed: ValueError: boom")
        assert told["logs"].startswith("before\nTraceback (most recent call last)")
        assert told["logs"].endswith("ValueError: boom\n")
        assert "output" not in told
        assert told["metrics"]["predict_time"] > 0


def test_a_worker_that_dies_is_replaced() -> None:
    with server("trouble.py:exits_hard") as one:
        for _ in range(2):
            told = one.predict().json
            assert (told["status"], told["error"]) == ("failed", "Worker crashed: exited with code 7")
            one.until("READY")


def test_metrics_nest_by_their_dots() -> None:
    with server("basic.py:context") as one:
        told = one.predict(context={"who": "me"}).json
        assert told["output"] == {"who": "me"}
        assert told["metrics"]["tokens"] == {"out": 3}
        assert told["metrics"]["words"] == ["x"]


def test_a_sequential_client_never_hears_409(hello: Server) -> None:
    connection = hello.connect()
    for _ in range(500):
        connection.request("POST", "/predictions", b'{"input":{"text":"x"}}', JSON)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    assert hello.health()["status"] == "READY"
    connection.close()


def in_background(call: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    return thread, found


def until(condition: Any, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_full_server_refuses_and_says_so(sleeper: Server) -> None:
    for id in ("a", "b"):
        assert sleeper.predict({"seconds": 60}, {"Prefer": "respond-async"}, id=id).status == 202
    assert sleeper.health()["status"] == "BUSY"
    answer = sleeper.predict({"seconds": 0})
    assert answer.status == 409
    assert answer.json["error"] == "At capacity - all prediction slots busy"
    assert answer.json["status"] == "failed"
    for id in ("a", "b"):
        assert (sleeper.ask("POST", f"/predictions/{id}/cancel").status) == 200
    sleeper.until("READY")


def test_asynchronous_requests_are_answered_at_once(sleeper: Server) -> None:
    for number, prefer in enumerate(("respond-async", "respond-async, wait=5", "Respond-Async; x=1")):
        answer = sleeper.predict({"seconds": 60}, {"Prefer": prefer}, id=f"early{number}")
        assert answer.status == 202
        assert answer.json["status"] == "starting"
        assert answer.json["id"] == f"early{number}"
        assert sleeper.ask("POST", f"/predictions/early{number}/cancel").status == 200
        until(lambda: sleeper.predict({"seconds": 0}).status == 200)


def test_the_same_id_at_once_is_refused_by_post_and_told_by_put(sleeper: Server) -> None:
    assert sleeper.predict({"seconds": 60}, {"Prefer": "respond-async"}, id="same").status == 202
    assert sleeper.predict({"seconds": 0}, id="same").status == 409
    answer = sleeper.ask("PUT", "/predictions/same", {"input": {"seconds": 0}})
    assert answer.status == 202
    assert answer.json["input"] == {"seconds": 60}
    assert answer.json["status"] in ("starting", "processing")
    assert sleeper.ask("POST", "/predictions/same/cancel").json == {}


def test_put_takes_its_id_from_the_address(sleeper: Server) -> None:
    told = sleeper.ask("PUT", "/predictions/a%2Fb%20c", {"input": {"seconds": 0}}).json
    assert (told["id"], told["status"]) == ("a/b c", "succeeded")
    answer = sleeper.ask("PUT", "/predictions/one", {"id": "two", "input": {}})
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["body", "id"]
    assert answer.json["detail"][0]["msg"] == "prediction ID must match the ID supplied in the URL"
    assert sleeper.ask("PUT", "/predictions/one", {"id": "one", "input": {"seconds": 0}}).status == 200


def test_cancel_ends_a_waiting_request_and_may_be_repeated(sleeper: Server) -> None:
    thread, found = in_background(lambda: sleeper.predict({"seconds": 60}, id="long"))
    until(lambda: sleeper.ask("POST", "/predictions/long/cancel").status == 200)
    thread.join(20)
    told = found[0].json
    assert (found[0].status, told["status"]) == (200, "canceled")
    assert "begin x\n" in told["logs"] or told["logs"] == ""
    assert sleeper.ask("POST", "/predictions/long/cancel").status == 200
    unknown = sleeper.ask("POST", "/predictions/never/cancel")
    assert (unknown.status, unknown.json) == (404, {})


def test_a_caller_who_leaves_cancels_what_it_waited_for(sleeper: Server) -> None:
    connection = sleeper.connect()
    connection.request("POST", "/predictions", json.dumps({"id": "left", "input": {"seconds": 60}}), JSON)
    until(lambda: sleeper.ask("PUT", "/predictions/left", {}).json["status"] == "processing")
    connection.close()
    until(lambda: sleeper.ask("POST", "/predictions/left/cancel").status == 200)
    sleeper.until("READY")
    until(lambda: sleeper.predict({"seconds": 0}).status == 200)


# Streams


def test_a_stream_has_every_event_in_order(tokens: Server) -> None:
    answer = tokens.predict({"count": 3}, SSE)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    seen = events(answer.body)
    assert [name for name, _ in seen] == ["start", "output", "output", "output", "completed"]
    assert seen[0][1]["status"] == "processing"
    assert [data for name, data in seen if name == "output"] == [{"chunk": f"t{n} ", "index": n} for n in range(3)]
    assert seen[-1][1]["output"] == ["t0 ", "t1 ", "t2 "]
    assert b'data: {"chunk":"t0 ","index":0}\n\n' in answer.body


def test_items_arrive_as_they_are_made(tokens: Server) -> None:
    connection = tokens.connect()
    connection.request("POST", "/predictions", b'{"input":{"count":4,"pause":0.15}}', {**JSON, **SSE})
    answer = connection.getresponse()
    times = []
    while line := answer.readline():
        if line.startswith(b"event: output"):
            times.append(time.monotonic())
    assert len(times) == 4
    assert times[-1] - times[0] > 0.3


def test_a_later_reader_gets_what_went_before(tokens: Server) -> None:
    started = tokens.predict({"count": 5, "pause": 0.2}, {"Prefer": "respond-async"}, id="shared")
    assert started.status == 202
    time.sleep(0.3)
    seen = events(tokens.ask("PUT", "/predictions/shared", {}, SSE).body)
    assert [name for name, _ in seen] == ["start", *["output"] * 5, "completed"]


def test_a_reader_who_comes_too_late_for_the_beginning_is_told(tokens: Server) -> None:
    tokens.predict({"count": 60, "pause": 0.02}, {"Prefer": "respond-async"}, id="much")
    time.sleep(0.6)
    seen = events(tokens.ask("PUT", "/predictions/much", {}, SSE).body)
    assert [name for name, _ in seen] == ["error"]
    assert seen[0][1]["error"] == "SSE stream replay truncated; events were dropped"
    assert seen[0][1]["skipped"] > 0
    assert tokens.ask("POST", "/predictions/much/cancel").status == 200
    tokens.until("READY")


def test_a_long_stream_reaches_its_owner_whole(tokens: Server) -> None:
    seen = events(tokens.predict({"count": 20_000}, SSE).body)
    assert [data["index"] for name, data in seen if name == "output"] == list(range(20_000))
    assert len(seen[-1][1]["output"]) == 20_000


def test_a_stream_left_by_its_owner_is_canceled(tokens: Server) -> None:
    body = b'{"id":"gone","input":{"count":100000,"pause":0.02}}'
    with socket.create_connection(("127.0.0.1", tokens.port)) as caller:
        head = f"Host: x\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(b"POST /predictions HTTP/1.1\r\n" + head.encode() + body)
        assert b"200 OK" in caller.recv(4096)
    tokens.until("READY")
    assert tokens.ask("POST", "/predictions/gone/cancel").status == 200


def test_only_models_that_stream_are_streamed(hello: Server, tokens: Server) -> None:
    answer = hello.predict({}, SSE)
    assert answer.status == 406
    assert answer.json["error"].startswith("This model does not support streaming responses.")
    answer = tokens.ask("POST", "/trainings", {"input": {}}, SSE)
    assert (answer.status, answer.json) == (406, {"error": "Training endpoints do not support streaming responses."})


def test_metrics_and_logs_are_events(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import cog\nfrom typing import Iterator\n"
        "@cog.streaming\n"
        "def run() -> Iterator[str]:\n"
        "    print('one')\n"
        "    cog.current_scope().record_metric('n', 2, 'incr')\n"
        "    yield 'x'\n"
        "    raise ValueError('end')\n"
    )
    with server("run.py:run", root=tmp_path) as one:
        seen = events(one.predict({}, SSE).body)
        assert ("log", {"data": "one\n", "source": "stdout"}) in seen
        assert ("metric", {"mode": "increment", "name": "n", "value": 2}) in seen
        assert seen[-1][0] == "completed"
        assert seen[-1][1]["status"] == "failed"


# Trainings


def test_trainings_train_where_the_model_can() -> None:
    with server("basic.py:RunAndTrain") as one:
        assert one.ask("GET", "/").json["trainings_cancel_url"] == "/trainings/{training_id}/cancel"
        assert one.ask("POST", "/trainings", {"input": {}}).json["output"] == "trained"
        assert one.ask("POST", "/predictions", {"input": {}}).json["output"] == "ran"
        answer = one.ask("PUT", "/trainings/a", {"id": "b"})
        assert "training ID must match the ID supplied in the URL" in answer.body.decode()


def test_a_server_in_train_mode_trains_at_both_places() -> None:
    with server("basic.py:train", train=True) as one:
        assert one.ask("POST", "/trainings", {"input": {"n": 3}}).json["output"] == 30
        assert one.ask("POST", "/predictions", {"input": {"n": 4}}).json["output"] == 40
        assert one.ask("POST", "/predictions", {"input": {"n": "x"}}).status == 422


def test_what_trains_may_stand_elsewhere_and_is_loaded_by_the_first_training() -> None:
    with server("basic.py:RunAndTrain", COG_TRAIN_TYPE_STUB="trainer.py:Trainer") as one:
        assert "loaded" not in one.health()["setup"]["logs"]
        first, second = (one.ask("POST", "/trainings", {"input": {"steps": steps}}).json for steps in (2, 3))
        assert (first["output"], second["output"]) == ("trained 2 after 1 setups", "trained 3 after 1 setups")
        assert ("loaded" in first["logs"], "loaded" in second["logs"]) == (True, False)
        assert one.ask("POST", "/predictions", {"input": {}}).json["status"] == "succeeded"


def test_what_trains_beside_an_async_model_is_loaded_too() -> None:
    with server("basic.py:async_hello", COG_TRAIN_TYPE_STUB="trainer.py:plain") as one:
        assert one.ask("POST", "/trainings", {"input": {"steps": 2}}).json["output"] == 4
    with server("basic.py:async_hello", COG_TRAIN_TYPE_STUB="trainer.py:Trainer") as one:
        answer = one.ask("POST", "/trainings", {"input": {}}).json
        assert answer["status"] == "failed"
        assert "serve it with --x-mode train" in answer["error"]


def test_what_trains_and_cannot_be_loaded_fails_its_trainings_alone() -> None:
    with server("basic.py:RunAndTrain", COG_TRAIN_TYPE_STUB="missing.py:train") as one:
        answer = one.ask("POST", "/trainings", {"input": {}}).json
        assert (answer["status"], "missing.py not found in" in answer["error"]) == ("failed", True)
        assert one.ask("POST", "/predictions", {"input": {}}).json["status"] == "succeeded"


def test_the_file_of_the_model_is_executed_once_where_it_also_trains() -> None:
    with server("trainer.py:run", COG_TRAIN_TYPE_STUB="trainer.py:count") as one:
        assert one.ask("POST", "/predictions", {"input": {}}).json["output"] == 1
        answer = one.ask("POST", "/trainings", {"input": {}}).json
        assert (answer["output"], answer["logs"]) == (2, "")


def test_the_server_has_the_name_that_cog_calls_it_by() -> None:
    with server("basic.py:TrainOnly", train=True, module="cog.server.http") as one:
        assert one.ask("POST", "/trainings", {"input": {"steps": 2}}).json["output"] == "trained 2 True"


# Setup and the end


def test_a_server_whose_setup_failed_stays_up_and_says_why() -> None:
    with server("trouble.py:SetupFails", ready=False) as one:
        health = one.until("SETUP_FAILED")
        assert health["setup"]["status"] == "failed"
        assert health["setup"]["logs"].startswith("loading\n")
        assert "RuntimeError: bad weights" in health["setup"]["logs"]
        answer = one.predict()
        assert answer.status == 503
        assert answer.json["error"].startswith("Setup failed: RuntimeError: bad weights\n")
        assert "Setup has not finished yet. Wait until" in answer.json["error"]
        assert answer.json["status"] == "failed"
        assert one.ask("GET", "/openapi.json").status == 503
        assert one.ask("GET", "/").status == 200
        assert one.ask("POST", "/shutdown").json == {}
        assert one.process.wait(20) == 0


def test_a_server_answers_while_setup_runs_and_gives_it_up_in_time() -> None:
    with server("trouble.py:SetupHangs", ready=False, COG_SETUP_TIMEOUT="1") as one:
        assert one.health()["status"] == "STARTING"
        assert one.predict().status == 503
        assert one.ask("GET", "/openapi.json").json == {"error": "OpenAPI schema not available"}
        assert one.until("SETUP_FAILED")["setup"]["logs"].endswith("worker setup timed out")


def test_a_run_ends_at_its_time_and_the_next_one_works() -> None:
    with server("trouble.py:sleeps", MODELYARD_RUN_TIMEOUT="0.5") as one:
        answer = one.predict({"seconds": 30})
        assert answer.status == 200
        assert (answer.json["status"], answer.json["error"]) == ("failed", "Prediction timed out after 0.5 seconds.")
        assert answer.json["metrics"] == {"predict_time": 0.5}
        assert answer.json["logs"] == "sleeping\n"
        one.until("READY")
        assert one.predict({"seconds": 0}).json["output"] == "slept"


def test_a_run_that_holds_the_interpreter_from_its_first_statement_ends_at_its_time() -> None:
    with server("native.py:hangs", MODELYARD_RUN_TIMEOUT="1") as one:
        answer = one.predict({"seconds": 600})
        assert (answer.json["status"], answer.json["error"]) == ("failed", "Prediction timed out after 1 seconds.")
        assert answer.json["logs"] == "waiting for the device\n"
        one.until("READY")
        assert one.predict({"seconds": 0}).json["logs"] == "waiting for the device\n"


def test_a_run_that_waits_for_its_batch_has_its_own_time() -> None:
    for model, together in (("slow_pairs", 4), ("patient_pairs", 1)):
        with server(f"batches.py:{model}", MODELYARD_RUN_TIMEOUT="1") as one:
            started = [in_background(lambda: one.predict({"text": "x"})) for _ in range(together)]
            for thread, found in started:
                thread.join(20)
                assert found[0].json["status"] == "succeeded"


def test_a_failing_check_of_the_model_makes_it_unhealthy_but_it_works_on() -> None:
    with server("basic.py:Healthy") as one:
        one.predict({"state": "raise"})
        health = one.health()
        assert health["status"] == "UNHEALTHY"
        assert health["user_healthcheck_error"] == "Healthcheck failed: RuntimeError: bad gpu"
        assert one.predict({"state": "ok"}).status == 200
        assert one.health()["status"] == "READY"


def test_what_runs_may_finish_when_the_server_is_told_to_stop() -> None:
    with server("basic.py:async_sleep") as one:
        thread, found = in_background(lambda: one.predict({"seconds": 1}))
        until(lambda: "begin x" in one.text())
        assert one.stop_politely() == 0
        thread.join(10)
        assert found[0].json["status"] == "succeeded"


def test_a_second_signal_ends_the_server_at_once() -> None:
    with server("trouble.py:sleeps") as one:
        thread, found = in_background(lambda: one.predict({"seconds": 600}))
        until(lambda: "sleeping" in one.text())
        began = time.monotonic()
        one.process.terminate()
        time.sleep(0.2)
        assert one.process.poll() is None
        assert one.stop_politely() == 0
        thread.join(10)
        assert time.monotonic() - began < 8  # the grace alone is ten seconds
        assert found[0].json["status"] == "failed"


def test_sigterm_means_nothing_where_the_end_is_to_be_explicit() -> None:
    with server("hello.py:Runner", "--await-explicit-shutdown", "true") as one:
        one.process.terminate()
        time.sleep(0.3)
        assert one.predict({"text": "x"}).status == 200
        one.ask("POST", "/shutdown")
        assert one.process.wait(20) == 0


def test_a_port_in_use_and_a_missing_reference_are_told_and_not_raised(hello: Server) -> None:
    with server("hello.py:Runner", f"--port={hello.port}", ready=False) as one:
        assert one.process.wait(20) == 1
        assert f"cannot listen on 127.0.0.1:{hello.port}" in one.text()
    with server("", ready=False) as one:
        assert one.process.wait(20) == 1
        assert "COG_PREDICT_TYPE_STUB environment variable is not set" in one.text()
    with server("hello.py:Runner", "--nonsense", ready=False) as one:
        assert one.process.wait(20) == 2
        assert "unknown argument '--nonsense'" in one.text()


def test_a_body_over_the_limit_is_refused_before_it_is_read(hello: Server) -> None:
    with socket.create_connection(("127.0.0.1", hello.port)) as caller:
        caller.sendall(b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 104857601\r\n\r\n")
        caller.settimeout(10)
        assert b"413" in caller.recv(4096)
