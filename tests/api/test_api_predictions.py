from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from server import TERMINAL, VERSIONS, Server, until

from modelyard.predictions.record import Status

PY1 = {"user-agent": "replicate-python/1.0.7"}


def create(http: httpx.Client, model: str = "text", **headers: str) -> Any:
    return http.post("/v1/predictions", json={"version": VERSIONS[model], "input": {}}, headers=headers)


def run(http: httpx.Client, values: dict[str, Any], model: str = "text", **more: Any) -> httpx.Response:
    body = {"version": VERSIONS[model], "input": values, **more}
    return http.post("/v1/predictions", json=body, headers={"prefer": "wait"})


def ended(http: httpx.Client, prediction_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = http.get(f"/v1/predictions/{prediction_id}").json()
        return shown if shown["status"] in TERMINAL else None

    result: dict[str, Any] = until(look)
    return result


def test_a_created_prediction_is_answered_as_starting_and_then_succeeds(http: httpx.Client, server: Server) -> None:
    values = {"text": "Ada", "do": [["sleep", 0.1], ["done", "hello Ada"]]}
    answer = http.post("/v1/predictions", json={"version": VERSIONS["text"], "input": values})
    made = answer.json()
    assert answer.status_code == 201
    assert (made["status"], made["output"], made["error"], made["logs"]) == ("starting", None, None, "")
    assert made["model"] == "acme/text"
    assert made["version"] == VERSIONS["text"]
    assert made["input"] == values
    assert made["source"] == "api"
    assert made["data_removed"] is False
    assert not {"started_at", "completed_at", "metrics", "webhook", "deadline", "deployment"} & made.keys()
    assert answer.headers["location"] == made["urls"]["get"] == f"{server.url}/v1/predictions/{made['id']}"
    assert made["urls"]["cancel"] == made["urls"]["get"] + "/cancel"
    assert made["urls"]["stream"].startswith(f"{server.url}/v1/streams/{made['id']}-")
    assert answer.headers["cache-control"] == "no-store"
    done = ended(http, made["id"])
    assert (done["status"], done["output"]) == ("succeeded", "hello Ada")
    assert done["metrics"]["predict_time"] == 0.25
    assert done["created_at"] <= done["started_at"] <= done["completed_at"]
    assert done["created_at"][-1] == "Z"


def test_a_caller_that_waits_gets_the_outcome(http: httpx.Client) -> None:
    answer = run(http, {"text": "Ada"})
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait"
    assert (answer.json()["status"], answer.json()["output"]) == ("succeeded", "hello Ada")


def test_what_was_answered_is_in_the_database(http: httpx.Client) -> None:
    made = run(http, {"text": "Ada"}).json()
    assert http.get(f"/v1/predictions/{made['id']}").json() == made


@pytest.mark.parametrize("spelling", [VERSIONS["text"], f"acme/text:{VERSIONS['text']}", "acme/text"])
def test_a_version_has_three_spellings(http: httpx.Client, spelling: str) -> None:
    body = {"version": spelling, "input": {"text": "Ada"}}
    made = http.post("/v1/predictions", json=body, headers={"prefer": "wait=5"}).json()
    assert (made["version"], made["output"]) == (VERSIONS["text"], "hello Ada")


@pytest.mark.parametrize("prefix", ["/v1", "/v1/v1"])
def test_a_model_runs_its_latest_version(http: httpx.Client, prefix: str) -> None:
    path = f"{prefix}/models/acme/text/predictions"
    made = http.post(path, json={"input": {"text": "Ada"}}, headers={"prefer": "wait"}).json()
    assert made["output"] == "hello Ada"
    assert http.get(f"{prefix}/predictions/{made['id']}").json()["output"] == "hello Ada"


def test_when_waiting_was_too_short_the_answer_says_starting_whatever_runs(http: httpx.Client) -> None:
    values = {"do": [["log", "working\n"], ["items", ["a", "b"]], ["hang"]]}
    body = {"version": VERSIONS["tokens"], "input": values}
    answer = http.post("/v1/predictions", json=body, headers={"prefer": "wait=1"})
    made = answer.json()
    assert answer.headers["preference-applied"] == "wait=1"
    assert (made["status"], made["output"]) == ("starting", None)
    shown = http.get(made["urls"]["get"]).json()
    assert (shown["status"], shown["output"], shown["logs"]) == ("processing", ["a", "b"], "working\n")
    assert http.post(made["urls"]["cancel"]).json()["status"] == "canceled"


def test_getting_may_wait_for_the_end(http: httpx.Client) -> None:
    body = {"version": VERSIONS["text"], "input": {"do": [["sleep", 0.2], ["done", "late"]]}}
    made = http.post("/v1/predictions", json=body).json()
    assert http.get(made["urls"]["get"], headers={"prefer": "wait=5"}).json()["output"] == "late"


def test_a_cancelled_prediction_shows_its_end_and_stays_ended(http: httpx.Client) -> None:
    body = {"version": VERSIONS["text"], "input": {"do": [["hang"]]}}
    made = http.post("/v1/predictions", json=body).json()
    until(lambda: http.get(made["urls"]["get"]).json()["status"] == "processing")
    cancelled = http.post(made["urls"]["cancel"])
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "canceled"
    assert "completed_at" in cancelled.json()
    assert http.post(made["urls"]["cancel"]).json() == cancelled.json()


def test_a_failed_prediction_shows_its_error_and_logs(http: httpx.Client) -> None:
    made = run(http, {"do": [["log", "before\n"], ["fail", "it broke"]]}).json()
    assert (made["status"], made["error"], made["logs"], made["output"]) == ("failed", "it broke", "before\n", None)


def test_what_was_yielded_stays_when_it_does_not_end_well(http: httpx.Client) -> None:
    failed = run(http, {"do": [["items", ["a", "b"]], ["fail", "it broke"]]}).json()
    assert (failed["status"], failed["output"]) == ("failed", ["a", "b"])
    assert http.get(failed["urls"]["get"]).json()["output"] == ["a", "b"]
    body = {"version": VERSIONS["text"], "input": {"do": [["items", ["a"]], ["hang"]]}}
    made = http.post("/v1/predictions", json=body).json()
    until(lambda: http.get(made["urls"]["get"]).json()["output"] == ["a"])
    assert http.post(made["urls"]["cancel"]).json()["output"] == ["a"]
    assert http.get(made["urls"]["get"]).json()["output"] == ["a"]


def test_metrics_of_the_model_are_shown(http: httpx.Client) -> None:
    made = run(http, {"do": [["metric", "tokens", 3], ["done", "x"]]}).json()
    assert made["metrics"]["tokens"] == 3


# What is wrong with a request


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    shown: dict[str, Any] = answer.json()
    assert shown["status"] == status
    assert shown["title"]
    assert shown["detail"]
    return shown


WRONG = [
    ({"count": "x"}, "invalid_type", "input.count", "Invalid type. Expected: integer, given: string"),
    ({"count": 0}, "number_gte", "input.count", "Must be greater than or equal to 1"),
    ({"count": 11}, "number_lte", "input.count", "Must be less than or equal to 10"),
    ({"count": 1.5}, "invalid_type", "input.count", "Invalid type. Expected: integer, given: number"),
    ({"style": "odd"}, "enum", "input.style", 'style must be one of the following: "plain", "loud"'),
    ({"image": "photo.png"}, "format", "input.image", "Does not match format 'uri'"),
    ({"images": ["http://x/y", "z"]}, "format", "input.images.1", "Does not match format 'uri'"),
    ({"text": None, "count": None, "sizes": [1, "2"]}, "invalid_type", "input.sizes.1", None),
]


@pytest.mark.parametrize(("values", "kind", "field", "said"), WRONG)
def test_a_wrong_input_is_named(http: httpx.Client, values: Any, kind: str, field: str, said: str | None) -> None:
    body = {"version": VERSIONS["text"], "input": values}
    shown = problem(http.post("/v1/predictions", json=body), 422)
    assert shown["title"] == "Input validation failed"
    found = next(one for one in shown["invalid_fields"] if one["field"] == field)
    assert found["type"] == kind
    if said is not None:
        assert found["description"] == said
        assert f"- {field}: {said}\n" in shown["detail"]


def test_a_missing_input_is_named(http: httpx.Client) -> None:
    body = {"version": VERSIONS["strict"], "input": {}}
    shown = problem(http.post("/v1/predictions", json=body), 422)
    assert shown["detail"] == "- input: text is required\n"
    assert shown["invalid_fields"] == [{"type": "required", "field": "input", "description": "text is required"}]


def test_the_keys_of_the_body_are_checked(http: httpx.Client) -> None:
    shown = problem(http.post("/v1/predictions", json={"model": "acme/text", "input": {}}), 422)
    assert shown["detail"] == "- version is required\n- Additional property model is not allowed\n"
    kinds = [field["type"] for field in shown["invalid_fields"]]
    assert kinds == ["required", "additional_property_not_allowed"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"version": "\\ud800", "input": {}}', 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"version": 1, "input": {}}', 422),
        (b'{"version": "x", "input": []}', 422),
        (b'{"version": "x", "input": "x"}', 422),
        (b'{"version": "x", "input": {}, "webhook": 1}', 422),
        (b'{"version": "x", "input": {}, "webhook_events_filter": ["never"]}', 422),
        (b'{"version": "x", "input": {}}', 422),
        (b'{"version": "' + b"e" * 64 + b'", "input": {}}', 422),
        (b'{"version": "acme/text", "input": {"do": ' + b"[" * 5000 + b"]" * 5000 + b"}}", 400),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_and_said(http: httpx.Client, body: bytes, status: int) -> None:
    answer = http.post("/v1/predictions", content=body, headers={"content-type": "application/json"})
    problem(answer, status)


def test_an_input_that_is_no_object_is_named(http: httpx.Client) -> None:
    shown = problem(http.post("/v1/predictions", json={"version": VERSIONS["text"], "input": [1]}), 422)
    assert shown["invalid_fields"][0]["field"] == "input"
    assert "given: array" in shown["detail"]


def test_an_unknown_version_says_so(http: httpx.Client) -> None:
    shown = problem(http.post("/v1/predictions", json={"version": "f" * 64, "input": {}}), 422)
    assert shown["title"] == "Invalid version or not permitted"


def test_a_model_without_versions_says_how_to_make_one(http: httpx.Client) -> None:
    shown = problem(http.post("/v1/models/acme/empty/predictions", json={"input": {}}), 422)
    assert "yard push acme/empty" in shown["hint"]


def test_an_unknown_model_is_not_found(http: httpx.Client) -> None:
    problem(http.post("/v1/models/acme/nothing/predictions", json={"input": {}}), 404)


def test_a_private_model_is_not_there_for_others(server: Server) -> None:
    with server.client(server.other_token) as other:
        problem(other.post("/v1/models/acme/text/predictions", json={"input": {}}), 404)
        problem(other.post("/v1/predictions", json={"version": VERSIONS["text"], "input": {}}), 422)


def test_a_webhook_must_be_an_address(http: httpx.Client) -> None:
    body = {"version": VERSIONS["text"], "input": {}, "webhook": "example.org/hook"}
    assert problem(http.post("/v1/predictions", json=body), 422)["invalid_fields"][0]["field"] == "webhook"


def test_old_and_ignored_keys_are_taken(http: httpx.Client) -> None:
    body = {"version": VERSIONS["text"], "input": {}, "stream": True, "webhook": None, "webhook_events_filter": None}
    assert http.post("/v1/predictions", json=body).status_code == 201


def test_a_body_that_is_too_long_is_refused_while_it_comes(http: httpx.Client) -> None:
    def endless() -> Any:
        for _ in range(130):
            yield b" " * 2**20

    problem(http.post("/v1/predictions", content=endless()), 413)


def test_a_body_that_says_that_it_is_too_long_is_refused_at_once(http: httpx.Client) -> None:
    problem(http.post("/v1/predictions", content=b" " * (129 * 2**20)), 413)


# What is forgiven


def test_an_unknown_input_is_dropped_and_the_log_says_so(http: httpx.Client) -> None:
    made = run(http, {"text": "Ada", "colour": "red"}).json()
    assert made["output"] == "hello Ada"
    assert made["input"] == {"text": "Ada"}
    assert made["logs"] == "Left out of the input, because this version does not know it: 'colour'\n"


def test_a_whole_number_may_be_written_with_a_point(http: httpx.Client, server: Server) -> None:
    made = run(http, {"count": 3.0, "sizes": [1.0, 2], "ratio": 2.0}).json()
    assert made["status"] == "succeeded"
    seen = server.script.seen[made["id"]]["input"]
    assert [type(value) for value in (seen["count"], *seen["sizes"], seen["ratio"])] == [int, int, int, float]


def test_null_is_taken_where_the_model_takes_it(http: httpx.Client) -> None:
    assert run(http, {"image": None, "note": None}).json()["status"] == "succeeded"


def test_a_secret_is_never_shown(http: httpx.Client, server: Server) -> None:
    made = run(http, {"key": "hunter2"}).json()
    assert made["input"] == {"key": "[REDACTED]"}
    assert server.script.seen[made["id"]]["input"] == {"key": "hunter2"}
    assert "hunter2" not in http.get("/v1/predictions").text


# Who asks


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "bearer", "TOKEN"])
def test_two_schemes_in_any_case(server: Server, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {server.token}"}
    assert httpx.get(f"{server.url}/v1/predictions", headers=headers).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nonsense", "Basic YTpi", "Bearer \xff"])
def test_without_a_token_nothing_is_told(server: Server, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    for path in ("/v1/predictions", "/v1/predictions/" + "0" * 26, "/v1/account"):
        shown = problem(httpx.get(server.url + path, headers=headers), 401)
        assert shown["title"] == "Unauthenticated"
        assert "token" in shown["detail"]


def test_anothers_prediction_is_not_found(http: httpx.Client, server: Server) -> None:
    made = run(http, {}).json()
    with server.client(server.other_token) as other:
        problem(other.get(made["urls"]["get"]), 404)
        problem(other.post(made["urls"]["cancel"]), 404)
        assert made["id"] not in other.get("/v1/predictions").text


@pytest.mark.parametrize("name", ["x", "0" * 26, "..%2f..%2fetc", "%00", "a" * 3000])
def test_an_id_that_is_none_is_not_found(http: httpx.Client, name: str) -> None:
    problem(http.get(f"/v1/predictions/{name}"), 404)
    problem(http.post(f"/v1/predictions/{name}/cancel"), 404)


# Deadlines


def test_a_deadline_is_shown_and_kept(http: httpx.Client, server: Server) -> None:
    server.script.paused = True
    try:
        body = {"version": VERSIONS["text"], "input": {}}
        made = http.post("/v1/predictions", json=body, headers={"cancel-after": "1h30m5s"}).json()
        assert made["deadline"][:13] != made["created_at"][:13]
        live = server.predictions.lives[made["id"]]
        server.loop.call_soon_threadsafe(server.predictions._cancel, live, Status.ABORTED)
        shown = ended(http, made["id"])
        assert shown["status"] == "aborted"
        assert http.get(made["urls"]["get"], headers=PY1).json()["status"] == "canceled"
        listed = http.get("/v1/predictions", headers=PY1).json()["results"]
        assert next(one for one in listed if one["id"] == made["id"])["status"] == "canceled"
    finally:
        server.script.paused = False


@pytest.mark.parametrize("value", ["soon", "4s", "25h", "-5", "5d", ""])
def test_a_deadline_that_is_none_is_refused(http: httpx.Client, value: str) -> None:
    answer = create(http, **{"cancel-after": value})
    if value:
        problem(answer, 400)
    else:
        assert answer.status_code == 201


# Requests that come again


def test_a_retried_creation_gives_the_first_prediction(http: httpx.Client) -> None:
    first = create(http, **{"x-stainless-retry-count": "0"}).json()
    again = create(http, **{"x-stainless-retry-count": "1"}).json()
    assert again["id"] == first["id"]
    assert create(http, **{"x-stainless-retry-count": "0"}).json()["id"] != first["id"]


def test_a_retry_of_what_never_arrived_makes_a_prediction(http: httpx.Client) -> None:
    body = {"version": VERSIONS["text"], "input": {"text": "only once"}}
    answer = http.post("/v1/predictions", json=body, headers={"x-stainless-retry-count": "2"})
    assert answer.status_code == 201


def test_a_named_request_makes_one_prediction(http: httpx.Client) -> None:
    first = create(http, **{"idempotency-key": "k1"}).json()
    assert create(http, **{"idempotency-key": "k1"}).json()["id"] == first["id"]
    assert create(http, **{"idempotency-key": "k2"}).json()["id"] != first["id"]
    problem(create(http, "tokens", **{"idempotency-key": "k1"}), 422)


# Lists


def test_a_list_is_paged_newest_first(http: httpx.Client) -> None:
    made = [create(http).json()["id"] for _ in range(105)]
    first = http.get("/v1/predictions").json()
    assert len(first["results"]) == 100
    assert first["previous"] is None
    assert [one["id"] for one in first["results"]] == made[:4:-1]
    second = http.get(first["next"]).json()
    assert [one["id"] for one in second["results"]][:5] == made[4::-1]
    assert "logs" not in first["results"][0]


def test_a_list_is_filtered_by_time(http: httpx.Client) -> None:
    one = create(http).json()
    two = create(http).json()
    query = {"created_after": two["created_at"]}
    assert [p["id"] for p in http.get("/v1/predictions", params=query).json()["results"]] == [two["id"]]
    query = {"created_before": two["created_at"], "created_after": one["created_at"]}
    assert [p["id"] for p in http.get("/v1/predictions", params=query).json()["results"]] == [one["id"]]


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=%00",
        "created_after=today",
        "created_before=9999-99-99",
        "source=nowhere",
        "status=done",
        "version=latest",
    ],
)
def test_a_list_says_what_is_wrong_with_a_filter(http: httpx.Client, query: str) -> None:
    shown = problem(http.get(f"/v1/predictions?{query}"), 400)
    assert query.partition("=")[0] in shown["detail"]


# Ways that are none


def test_what_is_nowhere_and_what_is_not_allowed(http: httpx.Client) -> None:
    problem(http.get("/v1/nothing"), 404)
    problem(http.get("/v1/predictions/"), 404)
    answer = http.put("/v1/predictions")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert http.head("/v1/predictions").status_code == 200


def test_a_caller_that_leaves_does_not_stop_its_prediction(http: httpx.Client, server: Server) -> None:
    body = {"version": VERSIONS["text"], "input": {"do": [["sleep", 0.3], ["done", "still"]], "text": "left"}}
    with server.client() as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/v1/predictions", json=body, headers={"prefer": "wait"}, timeout=0.1)
    newest = http.get("/v1/predictions").json()["results"][0]
    assert newest["input"]["text"] == "left"
    assert ended(http, newest["id"])["output"] == "still"


def test_many_callers_at_once_each_get_their_own(server: Server) -> None:
    failures: list[object] = []

    def work(number: int) -> None:
        with server.client() as client:
            for turn in range(10):
                name = f"{number}.{turn}"
                if run(client, {"text": name}).json()["output"] != f"hello {name}":
                    failures.append(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_runs_are_counted(http: httpx.Client) -> None:
    before = http.get("/v1/models/acme/strict").json()["run_count"]
    run(http, {"text": "x"}, "strict")
    until(lambda: http.get("/v1/models/acme/strict").json()["run_count"] == before + 1)


def test_times_have_six_digits(http: httpx.Client) -> None:
    made = run(http, {}).json()
    for name in ("created_at", "started_at", "completed_at"):
        assert len(made[name]) == len("2026-01-02T03:04:05.678901Z")
    assert abs(time.time() - time.mktime(time.strptime(made["created_at"][:19], "%Y-%m-%dT%H:%M:%S"))) < 20 * 3600
