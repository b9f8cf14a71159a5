"""The official Python client, unmodified, on a real yard with real models in real workers."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.stream import ServerSentEvent

from tests.faults.yard import TOKEN, Yard

HELLO = """
import time
from cog import BaseRunner, Input
class Runner(BaseRunner):
    def run(self, text: str = "you", seconds: float = 0, count: int = Input(default=1, ge=1, le=10)) -> str:
        print("greeting", text)
        time.sleep(seconds)
        if text == "nobody":
            raise ValueError("there is nobody")
        return "hello " + text
"""

TOKENS = """
import time
from cog import BaseRunner, ConcatenateIterator
class Runner(BaseRunner):
    def run(self, text: str, seconds: float = 0.02) -> ConcatenateIterator[str]:
        for word in text.split(" "):
            yield word + " "
            time.sleep(seconds)
        if text == "Once upon":
            raise ValueError("the story broke off")
"""

UPPER = """
from typing import List
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, file: Path, more: List[Path] = []) -> List[Path]:
        made = []
        for number, given in enumerate([file, *more]):
            path = Path(f"{number}.txt")
            path.write_bytes(given.read_bytes().upper())
            made.append(path)
        return made
"""

STORY = "Once upon\na time there was a model"


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One yard for all of these, with three models."""
    yard = Yard(tmp_path_factory.mktemp("yard")).start()
    for name, source in (("hello", HELLO), ("tokens", TOKENS), ("upper", UPPER)):
        yard.push(name, source)
    yield yard
    yard.end()


@pytest.fixture(params=["", "/v1"])
def client(yard: Yard, request: pytest.FixtureRequest) -> replicate.Client:
    """The client as it is installed, with either of the addresses that people give it."""
    return replicate.Client(api_token=TOKEN, base_url=yard.url + str(request.param))


def version_of(client: replicate.Client, name: str) -> str:
    version = client.models.get(f"yard/{name}").latest_version
    assert version is not None
    return version.id


def test_it_runs_a_model_by_name_and_by_version(client: replicate.Client) -> None:
    assert client.run("yard/hello", input={"text": "Ada"}) == "hello Ada"
    assert client.run(f"yard/hello:{version_of(client, 'hello')}", input={"text": "Ada"}) == "hello Ada"


@pytest.mark.parametrize("wait", [False, 1, True], ids=["by polling", "longer than it waits", "waiting"])
def test_it_runs_what_takes_a_while(client: replicate.Client, wait: Any) -> None:
    assert client.run("yard/hello", input={"text": "late", "seconds": 1.3}, wait=wait) == "hello late"


def test_it_raises_what_a_model_raised(client: replicate.Client) -> None:
    with pytest.raises(ModelError, match="there is nobody") as caught:
        client.run("yard/hello", input={"text": "nobody"})
    assert caught.value.prediction.status == "failed"
    assert "greeting nobody" in (caught.value.prediction.logs or "")
    assert "ValueError" in (caught.value.prediction.logs or "")


def test_it_raises_what_the_yard_refused(client: replicate.Client, yard: Yard) -> None:
    with pytest.raises(ReplicateError) as caught:
        client.run("yard/hello", input={"count": 11})
    assert caught.value.status == 422
    assert "input.count" in (caught.value.detail or "")
    with pytest.raises(ReplicateError) as caught:
        client.models.get("yard/nothing")
    assert caught.value.status == 404
    with pytest.raises(ReplicateError) as caught:
        replicate.Client(api_token="wrong", base_url=yard.url).models.list()
    assert caught.value.status == 401


def test_it_gives_the_items_of_an_iterator(client: replicate.Client) -> None:
    found: Any = client.run("yard/tokens", input={"text": STORY})
    assert "".join(found) == STORY + " "


def test_it_streams_while_the_model_speaks(client: replicate.Client) -> None:
    first = None
    events = []
    for event in client.stream("yard/tokens", input={"text": STORY, "seconds": 0.1}):
        if first is None:
            (newest, *_) = client.predictions.list()
            first = newest.status
        events.append(event)
    assert first == "processing"
    assert "".join(str(event) for event in events) == STORY + " "
    assert events[-1].event == ServerSentEvent.EventType.DONE


def test_it_raises_when_what_it_streams_fails(client: replicate.Client) -> None:
    heard: list[str] = []
    with pytest.raises(RuntimeError, match="the story broke off"):
        heard.extend(str(event) for event in client.stream("yard/tokens", input={"text": "Once upon"}))
    assert "".join(heard) == "Once upon "


def test_it_creates_follows_and_gets_a_prediction(client: replicate.Client) -> None:
    made = client.predictions.create(version=version_of(client, "tokens"), input={"text": STORY})
    assert made.status == "starting"
    assert made.model == "yard/tokens"
    assert "".join(str(event) for event in made.stream()) == STORY + " "
    made.wait()
    assert made.status == "succeeded"
    assert "".join(made.output) == STORY + " "
    again = client.predictions.get(made.id)
    assert (again.status, again.output, again.input) == ("succeeded", made.output, {"text": STORY})
    assert again.metrics is not None
    assert again.metrics["predict_time"] > 0


@pytest.mark.parametrize("how", ["running", "waiting"])
def test_it_cancels(client: replicate.Client, how: str) -> None:
    values = {"text": "long", "seconds": 60}
    before = client.predictions.create(version=version_of(client, "hello"), input=values)
    waiting = client.predictions.create(version=version_of(client, "hello"), input=values)
    reach(before, "processing")
    if how == "waiting":
        waiting.cancel()
        assert waiting.status == "canceled"
        before.reload()
        assert before.status == "processing"
    before.cancel()
    before.wait()
    assert before.status == "canceled"
    assert client.predictions.cancel(waiting.id).id == waiting.id
    waiting.wait()
    assert waiting.status == "canceled"
    assert client.run("yard/hello", input={"text": "next"}) == "hello next"


def reach(prediction: replicate.prediction.Prediction, status: str) -> None:
    deadline = time.monotonic() + 30
    while prediction.status != status:
        assert time.monotonic() < deadline, prediction
        time.sleep(0.02)
        prediction.reload()


def test_it_lists_page_after_page(client: replicate.Client) -> None:
    version = version_of(client, "hello")
    made = [client.predictions.create(version=version, input={"text": str(number)}).id for number in range(101)]
    first = client.predictions.list()
    assert len(first.results) == 100
    assert first.next is not None
    following = client.predictions.list(cursor=first.next)
    listed = [one.id for one in [*first.results, *following.results]]
    assert len(listed) == len(set(listed))
    assert listed[:101] == made[::-1]
    last = client.predictions.get(made[-1])
    last.wait()
    assert last.output == "hello 100"


def test_it_uploads_what_a_model_reads_and_downloads_what_it_wrote(client: replicate.Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("from the disk")
    more = [io.BytesIO(b"from memory"), path.open("rb")]
    found: Any = client.run("yard/upper", input={"file": path, "more": more})
    assert [httpx.get(link).text for link in found] == ["FROM THE DISK", "FROM MEMORY", "FROM THE DISK"]


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
def test_it_sends_files_inside_the_request_too(client: replicate.Client, size: int) -> None:
    values = {"file": io.BytesIO(b"x" * size)}
    (link,) = client.run("yard/upper", input=values, file_encoding_strategy="base64")
    assert httpx.get(link).content == b"X" * size


def test_one_models_output_is_anothers_input(client: replicate.Client) -> None:
    (first,) = client.run("yard/upper", input={"file": io.BytesIO(b"a")})
    (second,) = client.run("yard/upper", input={"file": str(first)})
    assert httpx.get(second).text == "A"


def test_it_keeps_files(client: replicate.Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    made = client.files.create(path, metadata={"a": 1})
    assert (made.name, made.content_type, made.size, made.metadata) == ("notes.txt", "text/plain", 5, {"a": 1})
    assert client.files.get(made.id) == made
    assert made.id in {one.id for one in client.files.list()}
    (link,) = client.run("yard/upper", input={"file": made.urls["get"]})
    assert httpx.get(link).text == "NOTES"
    assert client.files.delete(made.id) is True
    with pytest.raises(ReplicateError):
        client.files.get(made.id)


def test_it_finds_models_versions_and_who_it_is(client: replicate.Client) -> None:
    assert client.accounts.current().username == "yard"
    assert {one.name for one in client.models.list()} >= {"hello", "tokens", "upper"}
    assert [one.name for one in client.models.search("tokens")] == ["tokens"]
    model = client.models.get("yard/hello")
    (version,) = model.versions.list()
    properties = model.versions.get(version.id).openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert list(properties) == ["text", "seconds", "count"]
    assert "cpu" in [one.sku for one in client.hardware.list()]


async def test_its_asynchronous_twins_do_the_same(client: replicate.Client) -> None:
    assert await client.async_run("yard/hello", input={"text": "Ada"}) == "hello Ada"
    events = [event async for event in await client.async_stream("yard/tokens", input={"text": STORY})]
    assert "".join(str(event) for event in events) == STORY + " "
