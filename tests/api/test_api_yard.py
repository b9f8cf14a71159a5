"""The yard and its instances over HTTP: who sees what of them, and logs that are followed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from server import INSTANCE, VERSIONS, Server, until

from modelyard.machine import PastInstance

GONE = "2" * 26
SSE = {"accept": "text/event-stream"}


@pytest.fixture
def other(server: Server) -> Iterator[httpx.Client]:
    with server.client(server.other_token) as client:
        yield client


@pytest.fixture
def gone(server: Server) -> Iterator[PastInstance]:
    """An instance that failed."""
    past = PastInstance(
        id=GONE,
        model_id=server.script.model_id,
        version_id=VERSIONS["text"],
        state="failed",
        memory_bytes=1024,
        cpus=1.0,
        gpus=(),
        created_at=1_700_000_000_000_000,
        ready_at=None,
        stopped_at=1_700_000_005_000_000,
        error="Setup failed: no such file",
    )
    server.script.gone.append(past)
    yield past
    server.script.gone.clear()


def say(server: Server, text: str) -> None:
    server.loop.call_soon_threadsafe(server.script.logbook.add, INSTANCE, text)


def test_the_operator_sees_the_whole_yard(http: httpx.Client) -> None:
    run = http.post("/v1/predictions", json={"version": VERSIONS["text"], "input": {"do": [["hang"]]}}).json()
    until(lambda: http.get("/v1/yard").json()["predictions"]["processing"] == 1)
    yard = http.get("/v1/yard").json()
    assert (yard["status"], yard["problems"]) == ("ready", [])
    assert yard["uptime_seconds"] >= 0
    assert (yard["models"], yard["versions"]) == (5, 4)
    assert yard["instances"] == {"busy": 1}
    assert yard["predictions"].keys() == {"starting", "processing", "succeeded", "failed", "canceled", "aborted"}
    assert yard["disk"]["total_bytes"] > yard["disk"]["free_bytes"] > 0
    assert yard["disk"]["folders"]["database"] > 0
    assert yard["queue"] == {"waiting": 0, "oldest_wait_seconds": 0.0, "pools": []}
    http.post(f"/v1/predictions/{run['id']}/cancel")


def test_others_are_told_whether_the_yard_is_well_and_no_more(other: httpx.Client) -> None:
    yard = other.get("/v1/yard").json()
    assert yard.keys() == {"status", "problems", "version", "started_at", "uptime_seconds", "base_image", "engine"}
    assert httpx.get(other.base_url.join("/v1/yard")).status_code == 401


def test_instances_are_seen_by_the_operator_and_the_owner_of_their_model(
    http: httpx.Client, other: httpx.Client, server: Server
) -> None:
    (shown,) = http.get("/v1/instances").json()["results"]
    assert (shown["id"], shown["model"], shown["version"]) == (INSTANCE, "acme/text", VERSIONS["text"])
    assert (shown["state"], shown["running"], shown["error"]) == ("idle", [], None)
    assert shown["urls"]["logs"] == f"{server.url}/v1/instances/{INSTANCE}/logs"
    assert http.get(shown["urls"]["get"]).json()["id"] == INSTANCE
    assert other.get("/v1/instances").json()["results"] == []
    assert other.get(f"/v1/instances/{INSTANCE}").status_code == 404
    assert other.get(f"/v1/instances/{INSTANCE}/logs").status_code == 404


def test_instances_that_have_ended_are_listed_when_they_are_asked_for(http: httpx.Client, gone: PastInstance) -> None:
    assert [one["id"] for one in http.get("/v1/instances").json()["results"]] == [INSTANCE]
    *_, last = http.get("/v1/instances", params={"ended": "true"}).json()["results"]
    assert (last["id"], last["state"], last["error"]) == (GONE, "failed", gone.error)
    assert last["since"] == "2023-11-14T22:13:25.000000Z"
    assert http.get(f"/v1/instances/{GONE}").json() == last


@pytest.mark.parametrize("name", ["none", "3" * 26, "a%00b"])
def test_an_instance_that_is_none_is_not_found(http: httpx.Client, name: str) -> None:
    for address in (f"/v1/instances/{name}", f"/v1/instances/{name}/logs"):
        assert http.get(address).json() == {"title": "Not found", "detail": "There is no such instance.", "status": 404}


@pytest.mark.parametrize("query", ["instances?ended=maybe", f"instances/{INSTANCE}/logs?tail=all"])
def test_a_parameter_that_makes_no_sense_is_named(http: httpx.Client, query: str) -> None:
    refused = http.get(f"/v1/{query}")
    assert refused.status_code == 400
    assert query.partition("?")[2].partition("=")[0] in refused.json()["detail"]


def test_a_log_is_read_as_text_whole_or_its_end(http: httpx.Client, server: Server) -> None:
    say(server, "one\ntwo\nthrée\n")
    address = f"/v1/instances/{INSTANCE}/logs"
    whole = until(lambda: http.get(address).text)
    assert whole.endswith("one\ntwo\nthrée\n")
    assert http.get(address, params={"tail": 2}).text == "two\nthrée\n"
    assert http.get(address, params={"tail": 0}).text == ""
    assert http.head(address, headers=SSE).status_code == 200


def test_a_log_is_followed_as_events_and_a_reader_comes_back_where_it_was(server: Server) -> None:
    say(server, "first\n")
    events = read_events(server, {"tail": "1"}, until_text="second\n", then=lambda: say(server, "second\n"))
    assert [event["data"] for event in events] == ["first\n", "second\n"]
    say(server, "third\n")
    again = read_events(server, {}, until_text="third\n", **{"last-event-id": events[-1]["id"]})
    assert [event["data"] for event in again] == ["third\n"]


def read_events(
    server: Server, query: dict[str, str], *, until_text: str, then: Any = None, **headers: str
) -> list[dict[str, str]]:
    """The events up to one that says `until_text`; `then()` is called after the first."""
    found: list[dict[str, str]] = []
    address = f"/v1/instances/{INSTANCE}/logs"
    with server.client() as client, client.stream("GET", address, params=query, headers={**SSE, **headers}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-accel-buffering"] == "no"
        event: dict[str, str] = {}
        for line in reply.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = event[name] + "\n" + value if name in event else value
            elif event.pop("event", None):
                found.append(event)
                if event["data"] == until_text:
                    return found
                if then is not None:
                    then = then()
            if not line:
                event = {}
    return found


def test_following_ends_with_the_instance(server: Server) -> None:
    say(server, "before\n")
    threading.Timer(0.2, lambda: end(server)).start()
    try:
        with server.client() as client:
            reply = client.get(f"/v1/instances/{INSTANCE}/logs", headers=SSE)
    finally:
        server.script.fleet.instances[INSTANCE] = None
    assert "data: stopped: idle" in reply.text
    assert reply.text.rstrip().endswith("data: {}")
    assert "event: done" in reply.text


def end(server: Server) -> None:
    server.script.fleet.instances.pop(INSTANCE)
    say(server, "stopped: idle\n")
