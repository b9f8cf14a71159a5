"""The yard's HTTP protocol as clients meet it, byte by byte: whole answers take the short way, all else uvicorn's."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn
import uvloop

from modelyard import host, ids, rest

# More than the system and the transport take at once, so that writing has to pause.
LARGE = 16 * 1024 * 1024


class App:
    """Answers as `rest.reply` does, and notes for each answer whether it went the short way."""

    def __init__(self) -> None:
        self.short: list[tuple[str, bool]] = []
        self.told = threading.Event()

    async def __call__(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        path: str = scope["path"]
        at_once = scope[rest.AT_ONCE]

        def noted(status: int, headers: rest.Headers, body: bytes) -> bool:
            done: bool = at_once(status, headers, body)
            self.short.append((path, done))
            return done

        scope[rest.AT_ONCE] = noted
        await getattr(self, path[1:])(scope, receive, send)

    async def echo(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        body = await rest.read_body(receive)
        await rest.reply(scope, send, 200, [(b"x-version", scope["http_version"].encode())], b"heard " + body)

    async def slow(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        body = await rest.read_body(receive)
        self.told.set()
        await asyncio.sleep(0.1)
        await rest.reply(scope, send, 200, [], b"heard " + body)

    async def unread(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        await rest.reply(scope, send, 401, [], b"no")

    async def large(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        await rest.reply(scope, send, 200, [], b"x" * LARGE)

    async def begun(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hal", "more_body": True})
        scope[rest.AT_ONCE](500, [(b"content-length", b"5")], b"wrong")
        await send({"type": "http.response.body", "body": b"lo"})

    async def patient(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            self.told.set()
        await rest.reply(scope, send, 200, [], b"too late")
        self.told.set()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class Client:
    """Says exactly what it is told to, and reads answers one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._came = b""

    def send(self, *requests: bytes) -> Client:
        """All of them in one packet."""
        self.socket.sendall(b"".join(requests))
        return self

    def answer(self, *, bare: bool = False) -> Answer:
        """The next answer; `bare`: it has no body, whatever its head says."""
        while b"\r\n\r\n" not in self._came:
            self._read_more()
        head, _, self._came = self._came.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        answer = Answer(int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines))
        length = 0 if bare else int(answer.headers["content-length"])
        while len(self._came) < length:
            self._read_more()
        answer.body, self._came = self._came[:length], self._came[length:]
        return answer

    def _read_more(self) -> None:
        piece = self.socket.recv(1024 * 1024)
        assert piece, f"the server hung up after {self._came[:200]!r}"
        self._came += piece

    def is_left_alone(self) -> bool:
        """Did the server hang up, and say nothing more before it did?"""
        return self._came + self.socket.recv(1024) == b""

    def reset(self) -> None:
        """Leave without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[App, int]]:
    """The application on a server as a yard makes one, and its port."""
    app = App()
    listening = host.listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        http=host.Protocol,
        interface="asgi3",
        proxy_headers=False,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
    )
    server = host.Server(config)
    thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    yield app, listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(20)


@pytest.fixture
def app(served: tuple[App, int]) -> App:
    served[0].short.clear()
    served[0].told.clear()
    return served[0]


@pytest.fixture
def client(served: tuple[App, int]) -> Iterator[Client]:
    client = Client(served[1])
    yield client
    client.socket.close()


def request(path: str, body: bytes = b"", *, method: str = "POST", version: str = "1.1", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: yard.test", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_one_connection_carries_answer_after_answer(client: Client, app: App) -> None:
    for number in (b"one", b"two", b"three"):
        answer = client.send(request("/echo", number)).answer()
        assert (answer.status, answer.body) == (200, b"heard " + number)
        assert answer.headers == {"x-version": "1.1", "content-length": str(6 + len(number))}
    assert app.short == [("/echo", True)] * 3


def test_a_connection_that_is_to_be_closed_is_closed_after_its_answer(client: Client, app: App) -> None:
    answer = client.send(request("/echo", b"last", connection="close")).answer()
    assert (answer.body, answer.headers["connection"]) == (b"heard last", "close")
    assert client.is_left_alone()
    assert app.short == [("/echo", True)]


@pytest.mark.parametrize("wish", ["close", "keep-alive"])
def test_a_client_of_http_1_0_gets_its_answer_and_the_end(client: Client, app: App, wish: str) -> None:
    answer = client.send(request("/echo", b"old", version="1.0", connection=wish)).answer()
    assert (answer.body, answer.headers["x-version"], answer.headers["connection"]) == (b"heard old", "1.0", "close")
    assert client.is_left_alone()
    assert app.short == [("/echo", True)]


def test_head_gets_the_head_alone_and_the_next_request_its_answer(client: Client, app: App) -> None:
    client.send(request("/echo", method="HEAD"))
    answer = client.answer(bare=True)
    assert (answer.status, answer.headers["content-length"]) == (200, "6")
    assert client.send(request("/echo", b"next")).answer().body == b"heard next"
    assert app.short == [("/echo", False), ("/echo", True)]


def test_requests_in_one_packet_get_their_own_answers_in_order(client: Client, app: App) -> None:
    client.send(request("/slow", b"first"), request("/echo", b"second"), request("/slow", b"third"))
    assert [client.answer().body for _ in range(3)] == [b"heard first", b"heard second", b"heard third"]
    assert app.short == [("/slow", True), ("/echo", True), ("/slow", True)]


def test_what_comes_behind_the_last_request_of_a_connection_is_not_served(client: Client, app: App) -> None:
    client.send(request("/slow", b"last", connection="close"), request("/echo", b"after"))
    assert client.answer().body == b"heard last"
    assert client.is_left_alone()
    assert app.short == [("/slow", True)]


def test_a_body_that_nobody_read_is_not_taken_for_the_next_request(client: Client, app: App) -> None:
    whole = request("/unread", request("/echo", b"inside") * 1000)
    client.send(whole[:200])
    assert client.answer().status == 401
    client.send(whole[200:], request("/echo", b"behind"))
    assert client.answer().body == b"heard behind"
    assert app.short == [("/unread", True), ("/echo", True)]


def test_a_client_that_is_refused_while_it_sends_the_last_request_of_its_connection_hears_why(
    client: Client, app: App
) -> None:
    whole = request("/unread", b"x" * LARGE, connection="close")
    client.send(whole[:1000])
    while not app.short:
        time.sleep(0.001)
    for start in range(1000, len(whole), 65536):
        client.send(whole[start : start + 65536])
    answer = client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (401, b"no", "close")
    assert client.is_left_alone()


def test_a_client_that_asks_first_is_told_to_go_on_only_if_its_body_is_wanted(client: Client) -> None:
    wanted = request("/echo", b"body", expect="100-continue")
    assert client.send(wanted[:-4]).answer(bare=True).status == 100
    assert client.send(b"body").answer().body == b"heard body"
    unwanted = request("/unread", b"body", expect="100-continue")
    assert client.send(unwanted[:-4]).answer().status == 401


def test_answers_wait_for_a_client_that_is_slow_to_read_them(client: Client, app: App) -> None:
    client.send(request("/large"), request("/large"))
    bodies = [client.answer().body for _ in range(2)]
    assert bodies == [b"x" * LARGE] * 2
    assert app.short == [("/large", True), ("/large", False)]


def test_an_answer_that_has_begun_is_not_begun_again(client: Client, app: App) -> None:
    assert client.send(request("/begun")).answer().body == b"hallo"
    assert app.short == [("/begun", False)]


def test_an_answer_to_a_client_that_left_goes_nowhere_and_harms_nobody(
    client: Client, app: App, served: tuple[App, int], caplog: pytest.LogCaptureFixture
) -> None:
    left = Client(served[1]).send(request("/patient"))
    assert app.told.wait(20)
    app.told.clear()
    left.reset()
    assert app.told.wait(20)
    assert app.short == [("/patient", False)]
    assert client.send(request("/echo", b"still here")).answer().body == b"heard still here"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_answers_to_a_client_that_left_with_several_requests_open_go_nowhere_either(
    client: Client, app: App, served: tuple[App, int], caplog: pytest.LogCaptureFixture
) -> None:
    left = Client(served[1]).send(request("/slow"), request("/slow"))
    assert app.told.wait(20)
    left.reset()
    assert client.send(request("/slow", b"later")).answer().body == b"heard later"
    assert app.short == [("/slow", False), ("/slow", True)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_no_http_is_answered_as_every_door_does(client: Client, sent: bytes) -> None:
    answer = client.send(sent).answer()
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert ids.is_id(answer.headers["x-request-id"])
    assert json.loads(answer.body)["status"] == 400
    assert client.is_left_alone()


def test_somebody_who_speaks_tls_to_a_plain_port_is_no_warning_and_a_body_may_begin_alike(
    client: Client, served: tuple[App, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="modelyard")
    assert Client(served[1]).send(b"\x16\x03\x01\x02\x00\x01").answer().status == 400
    assert "somebody spoke TLS to this plain port" in caplog.messages
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    body = b"\x16\x03\x01"
    client.send(request("/echo", body)[: -len(body)])
    time.sleep(0.05)
    assert client.send(body).answer().body == b"heard " + body
