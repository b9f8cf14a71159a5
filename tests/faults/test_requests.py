"""Requests that are wrong, too large, or left alone: each is told why, and the yard serves the next one."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.yard import TOKEN, Yard

MIB = 1024 * 1024
MOST_BODY = 128 * MIB

MODEL = """
import time
from typing import Iterator
from cog import BaseRunner, Input
class Runner(BaseRunner):
    def run(
        self,
        text: str = "you",
        count: int = Input(default=1, ge=1, le=10),
        steps: int = 0,
        megabytes: int = 0,
    ) -> Iterator[str]:
        for step in range(steps):
            yield f"{step} "
            time.sleep(0.02)
        for number in range(megabytes * 16):
            print(f"{number:06d}".ljust(65535, "x"))
        yield "hello " + text
"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One yard for all of these: none of them may harm it."""
    yard = Yard(tmp_path_factory.mktemp("yard")).start()
    yield yard
    yard.end()


@pytest.fixture(scope="module")
def version(yard: Yard) -> str:
    """A version on it that is quick, and has run once."""
    version = yard.push("small", MODEL)
    yard.create(version, {}, prefer="wait")
    return version


@pytest.fixture(autouse=True)
def it_still_works(yard: Yard, version: str) -> Iterator[None]:
    """After each of them the yard is the same process, nothing unexpected happened in it, and the next one runs."""
    assert yard.process is not None
    pid = yard.process.pid
    yield
    assert yard.process.poll() is None, yard.log()
    assert yard.process.pid == pid
    assert yard.create(version, {}, prefer="wait")["output"] == ["hello you"]
    assert "Traceback" not in yard.log()
    assert "a request failed" not in yard.log()


def post(yard: Yard, content: Any, path: str = "/v1/predictions") -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return yard.http.post(path, content=body, headers={"content-type": "application/json"})


def assert_problem(reply: httpx.Response, status: int) -> dict[str, Any]:
    """Every refusal is a problem document with a sentence, and no traceback."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = reply.json()
    assert found["status"] == status
    assert found["detail"]
    assert "Traceback" not in reply.text
    return found


# Bodies


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"version": }', b"\xff\xfe{}", b'{"input": {"text": NaN}}', b"[" * 100_000, b'{"a":' * 100_000],
    ids=["empty", "cut off", "a value missing", "not UTF-8", "NaN", "deep lists", "deep objects"],
)
@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/models/yard/small/predictions", "/v1/models"])
def test_a_body_that_is_not_json_is_refused(yard: Yard, path: str, body: bytes) -> None:
    assert "JSON" in assert_problem(post(yard, body, path), 400)["detail"]


@pytest.mark.parametrize(("body", "given"), [([], "array"), ("text", "string"), (7, "integer"), (None, "null")])
def test_a_body_that_is_no_object_is_refused(yard: Yard, body: object, given: str) -> None:
    problem = assert_problem(post(yard, body), 422)
    assert problem["invalid_fields"][0]["description"] == f"Invalid type. Expected: object, given: {given}"


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"text": 7}, "input.text", "Expected: string, given: integer"),
        ({"count": "many"}, "input.count", "Expected: integer, given: string"),
        ({"count": True}, "input.count", "Expected: integer, given: boolean"),
        ({"count": 0}, "input.count", "greater than or equal to 1"),
        ({"count": 11}, "input.count", "less than or equal to 10"),
        ({"count": 10**30}, "input.count", "less than or equal to 10"),
        ("text", "input", "Expected: object, given: string"),
        (["text"], "input", "Expected: object, given: array"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_its_name(
    yard: Yard, version: str, values: object, field: str, says: str
) -> None:
    problem = assert_problem(post(yard, {"version": version, "input": values}), 422)
    (wrong,) = problem["invalid_fields"]
    assert wrong["field"] == field
    assert says in wrong["description"]
    assert field in problem["detail"]


def test_all_that_is_wrong_is_said_at_once(yard: Yard, version: str) -> None:
    problem = assert_problem(post(yard, {"version": version, "input": {"text": 7, "count": 0}}), 422)
    assert {wrong["field"] for wrong in problem["invalid_fields"]} == {"input.text", "input.count"}


def test_an_unknown_key_beside_the_input_is_refused(yard: Yard, version: str) -> None:
    problem = assert_problem(post(yard, {"version": version, "input": {}, "webhok": "https://x.test"}), 422)
    (wrong,) = problem["invalid_fields"]
    assert "webhok" in wrong["description"]


def test_an_unknown_key_in_the_input_is_left_out_and_the_log_says_so_in_one_line(yard: Yard, version: str) -> None:
    made = yard.create(version, {"text": "Ada", "colour": "red", "sise": 3}, prefer="wait")
    assert made["status"] == "succeeded"
    assert made["output"] == ["hello Ada"]
    assert made["input"] == {"text": "Ada"}
    (line,) = made["logs"].splitlines()
    assert "'colour', 'sise'" in line


# Sizes


def connect(yard: Yard) -> socket.socket:
    return socket.create_connection(("127.0.0.1", yard.port), timeout=60)


def head(*lines: str, method: str = "POST", path: str = "/v1/predictions") -> bytes:
    fixed = [f"{method} {path} HTTP/1.1", "host: yard.test", f"authorization: Bearer {TOKEN}"]
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


def read_answer(sock: socket.socket) -> tuple[int, bytes]:
    """The status and the body of one answer."""
    with sock.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
        return status, file.read(length)


def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(yard: Yard) -> None:
    with closing(connect(yard)) as sock:
        sock.sendall(head(f"content-length: {MOST_BODY + 1}"))
        status, body = read_answer(sock)
    assert status == 413
    assert "128 MiB" in json.loads(body)["detail"]


@pytest.mark.parametrize("excess", [0, 1], ids=["just fits", "one byte too long"])
def test_a_body_that_announces_no_length_is_refused_where_it_is_too_long(yard: Yard, version: str, excess: int) -> None:
    start = json.dumps({"version": version, "input": {}}).encode()
    rest = MOST_BODY + excess - len(start)
    with closing(connect(yard)) as sock:
        sock.sendall(head("transfer-encoding: chunked"))
        for piece in (start, *[b" " * MIB] * (rest // MIB), b" " * (rest % MIB)):
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\n\r\n")
        status, body = read_answer(sock)
    assert status == (413 if excess else 201), body
    if excess:
        assert "128 MiB" in json.loads(body)["detail"]


# Paths in place of names

UP = "..%2f" * 8 + "etc%2fpasswd"


@pytest.mark.parametrize("name", [UP, "..%2F..%2Fyard.db", "%2e%2e", "..%5c..%5cyard.db", "a%00b", "%ff", "x" * 3000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/predictions/{}"),
        ("POST", "/v1/predictions/{}/cancel"),
        ("GET", "/v1/files/{}"),
        ("GET", "/v1/files/{}/download"),
        ("GET", "/v1/streams/{}"),
        ("GET", "/v1/models/yard/{}"),
        ("GET", "/v1/models/yard/small/versions/{}"),
        ("GET", "/outputs/{}/0/00/a.txt"),
        ("GET", "/outputs/{id}/0/00/{}"),
        ("GET", "/v2/yard/small/blobs/{}"),
        ("GET", "/v2/yard/small/manifests/{}"),
        ("PUT", "/v2/yard/small/blobs/uploads/{}"),
    ],
)
def test_a_path_in_the_place_of_a_name_leads_nowhere(
    yard: Yard, version: str, method: str, path: str, name: str
) -> None:
    target = path.replace("{}", name).replace("{id}", yard.http.get("/v1/predictions").json()["results"][0]["id"])
    with closing(connect(yard)) as sock:
        # Not through a client, which would tidy up the path.
        sock.sendall(head("content-length: 0", method=method, path=target))
        status, body = read_answer(sock)
    assert status in (400, 404), (status, body)
    assert b"root:" not in body
    assert b"SQLite format" not in body


# Clients that leave


def leave(sock: socket.socket) -> None:
    """Without a word: what was not read is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("begun_by", ["creating it", "its address"])
def test_a_prediction_whose_reader_left_in_the_middle_ends_as_if_nobody_had(
    yard: Yard, version: str, begun_by: str
) -> None:
    values = {"steps": 50}
    sock = connect(yard)
    if begun_by == "creating it":
        body = json.dumps({"version": version, "input": values}).encode()
        sock.sendall(head("accept: text/event-stream", f"content-length: {len(body)}") + body)
    else:
        address = yard.create(version, values)["urls"]["stream"].removeprefix(yard.url)
        sock.sendall(head("accept: text/event-stream", method="GET", path=address))
    came = b""
    while b"event: output" not in came:
        came += sock.recv(4096)
    leave(sock)
    (newest, *_) = yard.http.get("/v1/predictions").json()["results"]
    assert newest["status"] == "processing"
    shown = yard.finished(newest["id"])
    assert shown["status"] == "succeeded"
    assert shown["output"] == [*[f"{step} " for step in range(50)], "hello you"]


def test_a_client_that_left_in_the_middle_of_its_body_made_nothing(yard: Yard, version: str) -> None:
    before = yard.http.get("/v1/predictions").json()["results"][0]["id"]
    body = json.dumps({"version": version, "input": {}}).encode()
    sock = connect(yard)
    sock.sendall(head(f"content-length: {len(body) + 1}") + body)
    time.sleep(0.1)
    leave(sock)
    next_one = yard.create(version, {}, prefer="wait")["id"]
    newest = [one["id"] for one in yard.http.get("/v1/predictions").json()["results"][:2]]
    assert newest == [next_one, before]


def test_two_requests_in_one_packet_get_two_answers_in_their_order(yard: Yard, version: str) -> None:
    requests = []
    for text in ("first", "second"):
        body = json.dumps({"version": version, "input": {"text": text, "steps": 2 if text == "first" else 0}}).encode()
        requests.append(head("prefer: wait", f"content-length: {len(body)}") + body)
    requests[1] = requests[1].replace(b"prefer: wait", b"prefer: wait\r\nconnection: close")
    with closing(connect(yard)) as sock:
        sock.sendall(b"".join(requests))
        with sock.makefile("rb") as file:
            came = file.read()
    outputs = [json.loads(part.partition(b"\r\n\r\n")[2])["output"] for part in came.split(b"HTTP/1.1 201 Created")[1:]]
    assert outputs == [["0 ", "1 ", "hello first"], ["hello second"]]


# Readers that are slow


class Reader(threading.Thread):
    """Reads the stream at an address: a byte at a time with pauses until `hurry` is set, then the rest at once."""

    def __init__(self, yard: Yard, address: str, *, slow: bool) -> None:
        super().__init__(daemon=True)
        self.hurry = threading.Event()
        if not slow:
            self.hurry.set()
        self.slowly = self.size = 0
        self.digest = hashlib.sha256()
        self._tail = b""
        self._connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=60)
        self._path = address.removeprefix(yard.url)
        self.start()

    def run(self) -> None:
        self._connection.connect()
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        self._connection.request("GET", self._path, headers={"accept": "text/event-stream"})
        answer = self._connection.getresponse()
        while not self.hurry.wait(0.002):
            self._take(answer.read(1))
            self.slowly += 1
        while piece := answer.read(MIB):
            self._take(piece)
        self._connection.close()

    def _take(self, piece: bytes) -> None:
        self.digest.update(piece)
        self.size += len(piece)
        self._tail = (self._tail + piece)[-100:]

    def text(self) -> tuple[str, bool]:
        """What it has read, as a digest, and whether that ended well."""
        self.join(60)
        return self.digest.hexdigest(), b"event: done" in self._tail and b"{}" in self._tail


def resident(yard: Yard) -> int:
    assert yard.process is not None
    return int(Path(f"/proc/{yard.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_slow_readers_cost_no_memory_hold_up_nobody_and_miss_nothing(yard: Yard, version: str) -> None:
    made = yard.create(version, {"megabytes": 64, "steps": 20})
    before = resident(yard)
    slow = [Reader(yard, made["urls"]["stream"], slow=True) for _ in range(6)]
    fast = Reader(yard, made["urls"]["stream"], slow=False)
    most = before
    while fast.is_alive():
        fast.join(0.02)
        most = max(most, resident(yard))
    assert yard.get(made["id"])["status"] == "succeeded"
    assert all(0 < reader.slowly < MIB for reader in slow)
    assert all(reader.is_alive() for reader in slow)
    for reader in slow:
        reader.hurry.set()
    while any(reader.is_alive() for reader in slow):
        slow[0].join(0.02)
        most = max(most, resident(yard))
    assert fast.text()[1]
    assert fast.size > 64 * MIB
    assert {reader.text() for reader in slow} == {fast.text()}
    assert most - before < 96 * MIB
