from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from server import VERSIONS, Server, until

SSE = {"accept": "text/event-stream"}


def events(text: str) -> list[tuple[str, str, str]]:
    """(event, id, data) of everything in a stream, comments left out."""
    found = []
    for block in text.split("\n\n"):
        fields = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        if fields:
            names = {name: value for name, _, value in fields if name != "data"}
            data = "\n".join(value for name, _, value in fields if name == "data")
            found.append((names["event"], names["id"], data))
    return found


def create(http: httpx.Client, model: str, do: list[Any]) -> dict[str, Any]:
    body = {"version": VERSIONS[model], "input": {"do": do}}
    made: dict[str, Any] = http.post("/v1/predictions", json=body).json()
    return made


def read(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers={**SSE, **headers}, timeout=20)


def told(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, data) for name, _, data in events(answer.text)]


TOKENS = [["log", "loading\n"], ["items", ["Once", " upon"]], ["items", [" a\ntime", ""]], ["done"]]
TOLD = [("logs", "loading\n"), ("output", "Once"), ("output", " upon"), ("output", " a\ntime"), ("output", "")]


def test_a_stream_tells_everything_in_order_and_then_done(http: httpx.Client) -> None:
    made = create(http, "tokens", [["sleep", 0.2], *TOKENS])
    answer = read(made["urls"]["stream"])
    assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert told(answer) == [*TOLD, ("done", "{}")]
    assert all(event_id for _, event_id, _ in events(answer.text))


def test_a_stream_after_the_end_tells_the_same(http: httpx.Client) -> None:
    made = create(http, "tokens", TOKENS)
    until(lambda: http.get(made["urls"]["get"]).json()["status"] == "succeeded")
    assert told(read(made["urls"]["stream"])) == [*TOLD, ("done", "{}")]


@pytest.mark.parametrize("live", [True, False])
def test_a_stream_is_resumed_after_any_event(http: httpx.Client, live: bool) -> None:
    made = create(http, "tokens", [["sleep", 0.2], *TOKENS])
    whole = events(read(made["urls"]["stream"]).text)
    if live:
        made = create(http, "tokens", [*TOKENS[:-1], ["sleep", 0.5], ["done"]])
        until(lambda: http.get(made["urls"]["get"]).json()["output"])
    for index, (_, event_id, _) in enumerate(whole[:-1]):
        rest = events(read(made["urls"]["stream"], **{"last-event-id": event_id}).text)
        assert rest == whole[index + 1 :]


def test_whoever_has_seen_the_end_is_told_to_go_away(http: httpx.Client) -> None:
    made = create(http, "tokens", TOKENS)
    *_, (_, last, _) = events(read(made["urls"]["stream"]).text)
    assert read(made["urls"]["stream"], **{"last-event-id": last}).status_code == 204


@pytest.mark.parametrize("value", ["nonsense", "1690212292:0", "-", "99-99", "é"])
def test_an_event_id_that_is_not_ours_is_harmless(http: httpx.Client, value: str) -> None:
    made = create(http, "tokens", TOKENS)
    answer = httpx.get(made["urls"]["stream"], headers={"last-event-id": value.encode("latin-1")})  # type: ignore[dict-item]
    assert told(answer)[-1] == ("done", "{}")


def test_tokens_arrive_when_they_are_made(http: httpx.Client) -> None:
    made = create(http, "tokens", [["sleep", 0.2], ["items", ["a"]], ["hang"]])
    with httpx.stream("GET", made["urls"]["stream"], headers=SSE, timeout=10) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("data")) == "data: a"
    http.post(made["urls"]["cancel"])


def test_a_failure_is_an_error_and_then_done(http: httpx.Client) -> None:
    made = create(http, "tokens", [["items", ["a"]], ["fail", "it\nbroke"]])
    assert told(read(made["urls"]["stream"])) == [
        ("output", "a"),
        ("error", json.dumps({"detail": "it\nbroke"}, separators=(",", ":"))),
        ("done", '{"reason": "error"}'),
    ]


def test_a_cancel_ends_the_stream(http: httpx.Client) -> None:
    made = create(http, "tokens", [["items", ["a"]], ["hang"]])
    with httpx.stream("GET", made["urls"]["stream"], headers=SSE, timeout=10) as answer:
        text: Iterator[str] = answer.iter_text()
        start = next(text)
        # A greeting comes first, unless the item was there before the reader.
        while "event: output" not in start:
            start += next(text)
        http.post(made["urls"]["cancel"])
        assert told_text(start + "".join(text)) == [("output", "a"), ("done", '{"reason": "canceled"}')]


def told_text(text: str) -> list[tuple[str, str]]:
    return [(name, data) for name, _, data in events(text)]


def test_what_is_no_text_streams_as_json(http: httpx.Client) -> None:
    made = create(http, "tokens", [["items", [{"a": [1, "\n"]}, 2, None]], ["done"]])
    assert told(read(made["urls"]["stream"]))[:3] == [
        ("output", '{"a":[1,"\\n"]}'),
        ("output", "2"),
        ("output", "null"),
    ]


def test_text_of_any_kind_survives(http: httpx.Client) -> None:
    items = [" leading", "trailing\n", "a\r\nb", 'quo"te\\', "naïve 🚀", "\t"]
    made = create(http, "tokens", [["items", items], ["done"]])
    got = [data for name, data in told(read(made["urls"]["stream"])) if name == "output"]
    assert got == [" leading", "trailing\n", "a\nb", 'quo"te\\', "naïve 🚀", "\t"]


def test_a_model_of_files_streams_one_link_an_event_where_clients_expect_files(http: httpx.Client) -> None:
    made = create(http, "files", [["sleep", 0.1], ["file", "a.txt", "content"]])
    url = made["urls"]["stream"]
    assert "/v1/files/" in url
    (name, link), done = told(read(url))
    assert (name, done) == ("output", ("done", "{}"))
    assert httpx.get(link).text == "content"


def test_a_prediction_that_starts_again_tells_everything_again(http: httpx.Client, server: Server) -> None:
    made = create(http, "tokens", [["items", ["first"]], ["hang"]])
    with httpx.stream("GET", made["urls"]["stream"], headers=SSE, timeout=10) as answer:
        text = answer.iter_text()
        start = next(text) + next(text)
        live = server.predictions.lives[made["id"]]
        task = server.script.running.pop(made["id"])

        def lose_worker() -> None:
            task.cancel()
            server.predictions.requeue(live, count=True)

        server.loop.call_soon_threadsafe(lose_worker)
        start += next(text)
        http.post(made["urls"]["cancel"])
        got = told_text(start + "".join(text))
    assert got == [("output", "first"), ("output", "first"), ("done", '{"reason": "canceled"}')]


def test_a_creation_may_be_answered_with_its_stream(http: httpx.Client) -> None:
    body = {"version": VERSIONS["tokens"], "input": {"do": TOKENS}}
    answer = http.post("/v1/predictions", json=body, headers=SSE)
    assert answer.status_code == 201
    assert told(answer) == [*TOLD, ("done", "{}")]
    assert http.get(answer.headers["location"]).json()["status"] == "succeeded"


def test_a_bad_creation_that_wants_a_stream_gets_a_problem(http: httpx.Client) -> None:
    answer = http.post("/v1/predictions", json={}, headers=SSE)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/streams/x", "/v1/streams/{id}-aaaa", "/v1/files/{id}-aaaa"])
def test_a_stream_is_found_by_its_token_only(http: httpx.Client, path: str) -> None:
    made = create(http, "tokens", TOKENS)
    assert http.get(path.format(id=made["id"])).status_code == 404


def test_readers_that_leave_are_forgotten(http: httpx.Client, server: Server) -> None:
    made = create(http, "tokens", [["items", ["a"]], ["hang"]])
    live = server.predictions.lives[made["id"]]
    for _ in range(3):
        with httpx.stream("GET", made["urls"]["stream"], headers=SSE) as answer:
            next(answer.iter_text())
    until(lambda: live.watched == 0)
    http.post(made["urls"]["cancel"])


def test_a_reader_that_is_slow_gets_all_and_holds_nobody_up(http: httpx.Client, server: Server) -> None:
    big = "x" * 10_000
    made = create(http, "tokens", [["sleep", 0.2], ["items", [big] * 400], ["items", ["end"]], ["done"]])
    path = made["urls"]["stream"].removeprefix(server.url)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        slow.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        until(lambda: http.get(made["urls"]["get"]).json()["status"] == "succeeded")
        assert told(read(made["urls"]["stream"]))[-2:] == [("output", "end"), ("done", "{}")]
        received = b""
        time.sleep(0.1)
        while piece := slow.recv(65536):
            received += piece
    assert received.count(b"event: output") == 401
    assert b"event: done" in received
