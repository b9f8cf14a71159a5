"""The official Python client, version 1.0.7, unmodified."""

from __future__ import annotations

import io
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.stream import ServerSentEvent
from replicate.webhook import Webhooks
from server import VERSIONS, Server, until

from modelyard.predictions.record import Status

TEXT, TOKENS, FILES = VERSIONS["text"], VERSIONS["tokens"], VERSIONS["files"]
STEPS = [["items", ["Once", " upon"]], ["log", "l\n"], ["sleep", 0.05], ["items", [" a\ntime"]], ["done"]]


@pytest.mark.parametrize("reference", ["acme/text", f"acme/text:{TEXT}"])
def test_run(client: replicate.Client, reference: str) -> None:
    assert client.run(reference, input={"text": "Ada"}) == "hello Ada"


def test_run_by_polling(client: replicate.Client) -> None:
    values = {"do": [["sleep", 0.3], ["done", "late"]]}
    assert client.run("acme/text", input=values, wait=False) == "late"


def test_run_longer_than_it_waits(client: replicate.Client) -> None:
    values = {"do": [["sleep", 1.0], ["done", "late"]]}
    assert client.run("acme/text", input=values, wait=1) == "late"


def test_run_of_an_iterator_gives_its_items(client: replicate.Client) -> None:
    found: Any = client.run(f"acme/tokens:{TOKENS}", input={"do": STEPS})
    assert list(found) == ["Once", " upon", " a\ntime"]


def test_run_that_fails_raises_what_the_model_said(client: replicate.Client) -> None:
    with pytest.raises(ModelError, match="it broke") as caught:
        client.run("acme/text", input={"do": [["fail", "it broke"]]})
    assert caught.value.prediction.status == "failed"


def test_run_uploads_files(client: replicate.Client, server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n picture")
    client.run("acme/text", input={"image": picture, "images": [io.BytesIO(b"one"), picture.open("rb")]})
    (newest, *_) = client.predictions.list()
    given: Any = newest.input
    seen = server.script.seen[newest.id]["files"]
    assert Path(seen[given["image"]]).read_bytes() == picture.read_bytes()
    assert Path(seen[given["images"][0]]).read_bytes() == b"one"


def test_run_takes_files_as_data_too(client: replicate.Client, server: Server) -> None:
    client.run("acme/text", input={"image": io.BytesIO(b"x" * 20_000)}, file_encoding_strategy="base64")
    (newest, *_) = client.predictions.list()
    given: Any = newest.input
    assert Path(server.script.seen[newest.id]["files"][given["image"]]).read_bytes() == b"x" * 20_000


def test_an_output_file_is_downloaded(client: replicate.Client) -> None:
    (link,) = client.run("acme/files", input={"do": [["file", "a.txt", "content"]]})
    assert httpx.get(link).text == "content"


def test_stream(client: replicate.Client) -> None:
    events = list(client.stream("acme/tokens", input={"do": STEPS}))
    assert "".join(str(event) for event in events) == "Once upon a\ntime"
    assert events[-1].event == ServerSentEvent.EventType.DONE


def test_stream_of_a_failure_raises(client: replicate.Client) -> None:
    with pytest.raises(RuntimeError, match="it broke"):
        list(client.stream("acme/tokens", input={"do": [["fail", "it broke"]]}))


def test_create_get_reload_wait_and_stream(client: replicate.Client) -> None:
    made = client.predictions.create(version=TOKENS, input={"do": STEPS})
    assert made.status == "starting"
    assert made.model == "acme/tokens"
    assert "".join(str(event) for event in made.stream()) == "Once upon a\ntime"
    made.wait()
    assert made.output == ["Once", " upon", " a\ntime"]
    again = client.predictions.get(made.id)
    assert (again.status, again.logs) == ("succeeded", "l\n")
    assert again.metrics is not None
    assert again.metrics["predict_time"] == 0.25


def test_create_by_model_and_waiting(client: replicate.Client) -> None:
    assert client.predictions.create(model="acme/text", input={}).id
    assert client.models.predictions.create("acme/text", input={"text": "x"}, wait=True).output == "hello x"
    assert client.predictions.create(version=TEXT, input={"text": "x"}, wait=5).output == "hello x"


def test_cancel(client: replicate.Client) -> None:
    made = client.predictions.create(version=TEXT, input={"do": [["hang"]]})
    made.cancel()
    assert made.status == "canceled"
    assert client.predictions.cancel(made.id).status == "canceled"


def test_a_deadline_before_the_start_has_a_name_that_the_client_knows(client: replicate.Client, server: Server) -> None:
    server.script.paused = True
    try:
        made = client.predictions.create(version=TEXT, input={})
        live = server.predictions.lives[made.id]
        server.loop.call_soon_threadsafe(server.predictions._cancel, live, Status.ABORTED)
        made.wait()
        assert made.status == "canceled"
    finally:
        server.script.paused = False


def test_list_and_paginate(client: replicate.Client) -> None:
    for _ in range(101):
        client.predictions.create(version=TEXT, input={})
    first = client.predictions.list()
    assert len(first.results) == 100
    assert first.next is not None
    following = client.predictions.list(cursor=first.next)
    assert following.results
    assert not {one.id for one in first.results} & {one.id for one in following.results}


def test_models_and_versions(client: replicate.Client) -> None:
    model = client.models.get("acme/text")
    assert (model.owner, model.name, model.visibility) == ("acme", "text", "private")
    assert model.latest_version is not None
    assert model.latest_version.id == TEXT
    assert [version.id for version in model.versions.list()] == [TEXT]
    assert model.versions.get(TEXT).openapi_schema["components"]["schemas"]["Input"]
    assert {one.name for one in client.models.list()} >= {"text", "tokens"}
    assert [one.name for one in client.models.search("strict")] == ["strict"]
    name = f"made-{time.monotonic_ns()}"
    made = client.models.create("acme", name, visibility="private", hardware="cpu", description="d")
    assert made.description == "d"
    assert client.models.delete("acme", name) is True


def test_files(client: replicate.Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    made = client.files.create(path, metadata={"a": 1})
    assert (made.name, made.content_type, made.size, made.metadata) == ("notes.txt", "text/plain", 5, {"a": 1})
    assert client.files.get(made.id) == made
    assert made.id in {one.id for one in client.files.list()}
    assert client.files.delete(made.id) is True
    with pytest.raises(ReplicateError):
        client.files.get(made.id)


def test_account_hardware_and_webhook_secret(client: replicate.Client) -> None:
    assert client.accounts.current().username == "acme"
    assert [one.sku for one in client.hardware.list()] == ["cpu"]
    assert client.webhooks.default.secret().key.startswith("whsec_")


def test_a_webhook_passes_the_clients_own_check(client: replicate.Client, server: Server) -> None:
    got: list[tuple[dict[str, str], str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    receiver = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_port}"
    client.predictions.create(version=TEXT, input={}, webhook=url, webhook_events_filter=["completed"])
    until(lambda: got)
    receiver.shutdown()
    headers, body = got[0]
    Webhooks.validate(headers=headers, body=body, secret=client.webhooks.default.secret())


def test_errors_are_the_clients_errors(client: replicate.Client, server: Server) -> None:
    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(version=TEXT, input={"count": "many"})
    assert (caught.value.status, caught.value.title) == (422, "Input validation failed")
    with pytest.raises(ReplicateError) as caught:
        client.models.get("acme/nothing")
    assert caught.value.status == 404
    with pytest.raises(ReplicateError) as caught:
        replicate.Client(api_token="wrong", base_url=server.url).accounts.current()
    assert (caught.value.status, caught.value.title) == (401, "Unauthenticated")


@pytest.mark.anyio
async def test_the_asynchronous_twins(client: replicate.Client) -> None:
    assert await client.async_run("acme/text", input={"text": "Ada"}) == "hello Ada"
    made = await client.predictions.async_create(version=TOKENS, input={"do": STEPS})
    await made.async_wait()
    assert made.output == ["Once", " upon", " a\ntime"]
    events = [event async for event in await client.async_stream("acme/tokens", input={"do": STEPS})]
    assert "".join(str(event) for event in events) == "Once upon a\ntime"
