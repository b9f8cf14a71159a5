"""Ids of requests and counts of answers, around applications of every manner."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from modelyard import errors, logs, rest
from modelyard.exchange import Exchanges, route_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines; the logging of the tests comes back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("modelyard")
    before = (root.handlers[:], root.level, ours.level)
    stream = io.StringIO()
    logs.set_up("json", "debug", stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def ask(app: rest.Asgi, path: str = "/v1/models", *, at_once: bool = False, **headers: str) -> list[rest.Message]:
    """Everything that a server is told of one answer; `at_once`: it offers the short way."""
    told: list[rest.Message] = []

    async def send(message: rest.Message) -> None:
        told.append(message)

    async def receive() -> rest.Message:
        return {"type": "http.request", "body": b""}

    def whole(status: int, heads: list[tuple[bytes, bytes]], body: bytes) -> bool:
        told.append({"short": True, "status": status, "headers": heads, "body": body})
        return True

    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope: rest.Scope = {"type": "http", "method": "GET", "path": path, "headers": named}
    if at_once:
        scope[rest.AT_ONCE] = whole
    await app(scope, receive, send)
    return told


def id_in(message: rest.Message) -> str:
    [found] = [value for name, value in message["headers"] if name == b"x-request-id"]
    return str(found.decode())


async def fine(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
    await rest.reply(scope, send, 200, [], b"fine")


async def broken(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
    await rest.reply_problem(scope, send, rest.as_error(RuntimeError("a secret of the inside")))


@pytest.mark.parametrize("at_once", [False, True])
async def test_every_answer_has_an_id_of_its_own(at_once: bool) -> None:
    app = Exchanges().around(fine)
    first, second = [id_in((await ask(app, at_once=at_once))[0]) for _ in range(2)]
    assert first != second
    assert first.rpartition("-")[0] == second.rpartition("-")[0]


async def test_ids_of_two_starts_differ() -> None:
    assert id_in((await ask(Exchanges().around(fine)))[0]) != id_in((await ask(Exchanges().around(fine)))[0])


@pytest.mark.parametrize("given", ["f1d2", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233-abcdef", "a" * 128])
async def test_an_id_that_the_caller_gave_is_kept(given: str) -> None:
    assert id_in((await ask(Exchanges().around(fine), x_request_id=given))[0]) == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "é", '"quoted"', "<script>", "-x", "a\tb", "a\nlevel=error"])
async def test_an_id_that_is_not_sane_is_replaced(given: str) -> None:
    found = id_in((await ask(Exchanges().around(fine), x_request_id=given))[0])
    assert found != given
    assert found.endswith("-1")


async def test_a_problem_inside_names_the_request_and_the_log_has_its_line(written: io.StringIO) -> None:
    told = await ask(Exchanges().around(broken), "/v1/models", x_request_id="r-77")
    problem = json.loads(told[1]["body"])
    assert problem["request_id"] == "r-77"
    assert "secret" not in told[1]["body"].decode()
    failed, answered = lines(written)
    assert failed["request_id"] == answered["request_id"] == "r-77"
    assert failed["level"] == "error"
    assert "RuntimeError: a secret of the inside" in str(failed["error"])
    assert (answered["level"], answered["message"]) == ("warning", "answered")
    assert (answered["method"], answered["path"], answered["status"]) == ("GET", "/v1/models", 500)


async def test_a_problem_of_the_caller_names_no_request() -> None:
    async def refused(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        await rest.reply_problem(scope, send, errors.NotFound("nothing"))

    assert "request_id" not in json.loads((await ask(Exchanges().around(refused)))[1]["body"])


async def test_what_a_request_leaves_behind_is_not_logged_as_of_it(written: io.StringIO) -> None:
    log = logging.getLogger("modelyard.test")

    async def leaves(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        log.info("within")
        await asyncio.to_thread(log.info, "for it, in a thread")
        asyncio.get_running_loop().call_soon(log.info, "later")
        await fine(scope, receive, send)

    await ask(Exchanges().around(leaves), x_request_id="r-1")
    await asyncio.sleep(0)
    named = {str(line["message"]): line.get("request_id") for line in lines(written)}
    assert named == {"within": "r-1", "for it, in a thread": "r-1", "answered": "r-1", "later": None}


async def test_requests_at_once_keep_their_ids_apart(written: io.StringIO) -> None:
    log = logging.getLogger("modelyard.test")

    async def slow(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        for _ in range(3):
            log.info("%s", scope["path"])
            await asyncio.sleep(0)
        await fine(scope, receive, send)

    app = Exchanges().around(slow)
    await asyncio.gather(*(asyncio.create_task(ask(app, f"/{n}", x_request_id=f"r-{n}")) for n in range(5)))
    seen = {(line["message"], line["request_id"]) for line in lines(written) if line["message"] != "answered"}
    assert seen == {(f"/{n}", f"r-{n}") for n in range(5)}


async def test_answers_are_counted_by_route_and_status() -> None:
    exchanges = Exchanges()
    app, bad = exchanges.around(fine), exchanges.around(broken)
    await ask(app, "/v1/predictions", at_once=True)
    await ask(app, "/v1/predictions/abc")
    await ask(bad, "/v1/models")
    assert exchanges.answered == {("predictions", 200): 2, ("models", 500): 1}
    assert sum(exchanges.seconds["predictions"].counts) == 2
    assert exchanges.open == 0


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/predictions", "predictions"),
        ("/v1/v1/predictions/abc/cancel", "predictions"),
        ("/v1/models/yard/hello/predictions", "predictions"),
        ("/v1/models/yard/hello", "models"),
        ("/v1/streams/abc", "streams"),
        ("/v1/nothing/there", "other"),
        ("/v1", "other"),
        ("/v2/yard/hello/blobs/uploads", "registry"),
        ("/outputs/1/2/3/x.png", "outputs"),
        ("/static/abc/x.js", "static"),
        ("/healthz", "health"),
        ("/metrics", "metrics"),
        ("/", "pages"),
        ("", "pages"),
        ("/yard/hello", "pages"),
    ],
)
def test_paths_belong_to_few_classes(path: str, route: str) -> None:
    assert route_of(path) == route
