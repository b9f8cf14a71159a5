from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import standardwebhooks
from server import VERSIONS, Server, until

from modelyard.db.base import Statement
from modelyard.predictions import webhooks
from modelyard.predictions.webhooks import Poster, is_public

ROWS = Statement("rows", "SELECT * FROM webhooks WHERE prediction_id = :id")


class Receiver:
    """Takes webhooks; answers with what `answers` says, then with 200."""

    def __init__(self) -> None:
        self.got: list[tuple[float, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.delay = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((time.monotonic(), {k.lower(): v for k, v in self.headers.items()}, body))
                time.sleep(receiver.delay)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?mine=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()


def create(http: httpx.Client, receiver: Receiver, do: list[Any], events: list[str] | None = None) -> dict[str, Any]:
    body = {"version": VERSIONS["tokens"], "input": {"do": do}, "webhook": receiver.url}
    if events is not None:
        body["webhook_events_filter"] = events
    made: dict[str, Any] = http.post("/v1/predictions", json=body).json()
    assert made["webhook"] == receiver.url
    return made


def test_the_end_is_told_as_the_api_tells_it_and_signed(http: httpx.Client, server: Server, receiver: Receiver) -> None:
    made = create(http, receiver, [["items", ["a"]], ["done"]], ["completed"])
    assert made["webhook_events_filter"] == ["completed"]
    until(lambda: receiver.got)
    _, headers, body = receiver.got[0]
    assert json.loads(body) == http.get(made["urls"]["get"]).json()
    assert json.loads(body)["status"] == "succeeded"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"].startswith("msg_")
    secret = http.get("/v1/webhooks/default/secret").json()["key"]
    standardwebhooks.Webhook(secret).verify(body, headers)


def test_a_webhook_tells_only_the_events_that_were_asked_for(http: httpx.Client, receiver: Receiver) -> None:
    do = [["log", "l"], ["items", ["a"]], ["sleep", 0.1], ["done"]]
    create(http, receiver, do, ["start"])
    until(lambda: receiver.got)
    made = create(http, receiver, do, ["completed"])
    until(lambda: len(receiver.got) == 2)
    assert [body["status"] for body in receiver.bodies] == ["processing", "succeeded"]
    assert receiver.bodies[1]["id"] == made["id"]


def test_outputs_are_told_at_most_every_half_second_and_the_end_last(http: httpx.Client, receiver: Receiver) -> None:
    steps: list[Any] = []
    for number in range(24):
        steps += [["items", [str(number)]], ["sleep", 0.05]]
    create(http, receiver, [*steps, ["done"]])
    until(lambda: receiver.bodies and receiver.bodies[-1]["status"] == "succeeded")
    *before, last = receiver.bodies
    times = [at for at, _, _ in receiver.got[:-1]]
    assert 2 <= len(before) <= 2 + (times[-1] - times[0]) / 0.5
    assert {body["status"] for body in before} == {"processing"}
    lengths = [len(body["output"]) for body in before]
    assert lengths == sorted(lengths)
    assert last["output"] == [str(number) for number in range(24)]


def test_an_end_is_tried_again_until_it_arrives_under_the_same_name(
    http: httpx.Client, server: Server, receiver: Receiver
) -> None:
    receiver.answers = [500, 301]
    server.clock_offset = 0
    made = create(http, receiver, [["done", "x"]], ["completed"])
    until(lambda: receiver.got)
    for expected in (2, 3):
        until(lambda: server.call(server.database.one(ROWS, id=made["id"]))["last_status"] in (500, 301))
        server.clock_offset += 40 * 1_000_000
        server.loop.call_soon_threadsafe(server.outbox.wake)
        until(lambda expected=expected: len(receiver.got) == expected)
    until(lambda: server.call(server.database.one(ROWS, id=made["id"]))["delivered_at"])
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    assert len({body for _, _, body in receiver.got}) == 1
    row = server.call(server.database.one(ROWS, id=made["id"]))
    assert (row["attempts"], row["last_status"], row["last_error"]) == (3, 200, None)


def test_a_receiver_that_never_takes_it_is_given_up_with_the_reason(
    http: httpx.Client, server: Server, receiver: Receiver
) -> None:
    receiver.answers = [503] * 20
    made = create(http, receiver, [["done", "x"]], ["completed"])
    for attempt in range(1, len(webhooks.RETRY_SECONDS) + 2):
        until(lambda attempt=attempt: len(receiver.got) == attempt)
        until(lambda: server.call(server.database.one(ROWS, id=made["id"]))["last_status"] == 503)
        time.sleep(0.05)
        server.clock_offset += 60 * 1_000_000
        server.loop.call_soon_threadsafe(server.outbox.wake)
    until(lambda: server.call(server.database.one(ROWS, id=made["id"]))["failed_at"])
    row = server.call(server.database.one(ROWS, id=made["id"]))
    assert row["last_error"] == "the receiver answered 503"
    assert row["attempts"] == len(webhooks.RETRY_SECONDS) + 1


def test_what_is_told_before_the_end_is_told_once(http: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [500]
    create(http, receiver, [["items", ["a"]], ["sleep", 0.3], ["done"]], ["output"])
    until(lambda: receiver.got)
    time.sleep(0.5)
    assert len(receiver.got) == 1


def test_a_receiver_that_is_slow_hears_the_end_after_the_rest(http: httpx.Client, receiver: Receiver) -> None:
    receiver.delay = 0.4
    create(http, receiver, [["items", ["a"]], ["sleep", 0.1], ["done"]])
    until(lambda: receiver.bodies and receiver.bodies[-1]["status"] == "succeeded")
    assert [body["status"] for body in receiver.bodies] == ["processing", "succeeded"]
    (first, *_), (second, *_) = receiver.got
    assert second - first >= 0.35


def test_an_end_that_was_not_delivered_is_sent_by_the_next_life(
    http: httpx.Client, server: Server, receiver: Receiver
) -> None:
    # A row that some earlier process wrote, and then died.
    made = create(http, receiver, [["done", "x"]], ["start"])
    until(lambda: receiver.got and http.get(made["urls"]["get"]).json()["status"] == "succeeded")
    receiver.got.clear()
    insert = Statement(
        "insert",
        "INSERT INTO webhooks (id, prediction_id, event, url, body, created_at, attempts, next_attempt_at)"
        " VALUES ('msg_old', :id, 'completed', :url, '', 0, 1, 0)",
    )
    server.call(server.database.run(insert, {"id": made["id"], "url": receiver.url}))
    server.loop.call_soon_threadsafe(server.outbox.wake)
    until(lambda: receiver.got)
    assert receiver.got[0][1]["webhook-id"] == "msg_old"
    assert receiver.bodies[0]["output"] == "x"


def test_links_in_a_webhook_start_with_the_address_that_its_caller_used(
    http: httpx.Client, server: Server, receiver: Receiver
) -> None:
    made = create(http, receiver, [["done", "x"]], ["completed"])
    until(lambda: receiver.got)
    assert receiver.bodies[0]["urls"] == made["urls"]


ADDRESSES = [
    ("8.8.8.8", True),
    ("2606:4700::1111", True),
    ("127.0.0.1", False),
    ("10.1.2.3", False),
    ("169.254.169.254", False),
    ("::1", False),
    ("::ffff:10.0.0.1", False),
    ("fe80::1%eth0", False),
    ("0.0.0.0", False),
    ("224.0.0.1", False),
]


@pytest.mark.parametrize(("address", "public"), ADDRESSES)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433"])
async def test_a_yard_that_serves_others_sends_nothing_into_its_own_network(host: str, receiver: Receiver) -> None:
    poster = Poster(private_addresses=False)
    try:
        status, problem = await poster(f"http://{host}:{receiver.server.server_port}/", b"{}", {})
        assert status is None
        assert problem is not None
        assert not receiver.got
    finally:
        await poster.close()
