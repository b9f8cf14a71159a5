"""Addresses: those that a yard asks on its users' behalf, and those that it gives itself.

A yard that others can reach asks public addresses only. How it does that on a network that has one is tried in a
network of our own, which this file is also the program for: `python -m tests.faults.test_addresses FOLDER`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.yard import Yard, free_port

ROOT = Path(__file__).parents[2]
# An address of the public internet that the network of our own has.
PUBLIC_ADDRESS = "11.22.33.44"
PUBLIC_URL = "https://pub.example:8443"
# The sites of these tests have private addresses.
BEHIND = {"MODELYARD_PUBLIC_URL": PUBLIC_URL, "MODELYARD_PRIVATE_ADDRESSES": "allow"}

READS = """
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, file: Path) -> str:
        return file.read_text()
"""

WRITES = """
from typing import Iterator
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, file: Path) -> Iterator[Path]:
        for number in range(2):
            path = Path(f"{number}.txt")
            path.write_text(file.read_text() + str(number))
            yield path
"""


class Site:
    """A web site on all addresses: `/file.txt`, `/to/ADDRESS` which redirects there, and anything may be posted to."""

    def __init__(self, port: int = 0) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        posted, asked = self.posted, self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                to = self.path.removeprefix("/to/") if self.path.startswith("/to/") else None
                self.send_response(200 if to is None else 302)
                if to is not None:
                    self.send_header("location", f"http://{to}")
                self.end_headers()
                self.wfile.write(b"content")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(204)
                self.end_headers()
                posted.append((self.path, json.loads(body)))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def delivered(self, path: str) -> Any:
        """The body of the first post there."""
        return until(lambda: next((body for where, body in self.posted if where == path), None))


def until(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while (found := find()) is None:
        assert time.monotonic() < deadline, "this did not happen"
        time.sleep(0.02)
    return found


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def why_not_delivered(yard: Yard, url: str) -> str:
    """What the outbox noted of its first try to send a webhook there."""

    def noted() -> str | None:
        with contextlib.closing(sqlite3.connect(f"file:{yard.data / 'yard.db'}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT last_error FROM webhooks WHERE url = ?", (url,)).fetchone()
        return None if row is None else row[0]

    said: str = until(noted)
    return said


def fetch_in_a_prediction(yard: Yard, version: str, url: str) -> dict[str, Any]:
    return yard.finished(yard.create(version, {"file": url})["id"])


def tell(yard: Yard, version: str, url: str) -> None:
    """Run something whose webhook is this one."""
    body = {"version": version, "input": {"file": "data:,x"}, "webhook": url, "webhook_events_filter": ["completed"]}
    reply = yard.http.post("/v1/predictions", json=body)
    assert reply.status_code == 201, reply.text


# What a yard asks


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:7f00:1]"])
def test_a_yard_that_others_can_reach_fetches_nothing_from_a_private_address(
    open_to_all: tuple[Yard, str], site: Site, host: str
) -> None:
    shown = fetch_in_a_prediction(*open_to_all, f"http://{host}:{site.port}/file.txt")
    assert shown["status"] == "failed"
    assert "input 'file' could not be fetched" in shown["error"]
    assert "is not a public address" in shown["error"]
    assert not site.asked


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("127.0.0.1", "127.0.0.1 is not an address of the public internet"),
        ("10.1.2.3", "10.1.2.3 is not an address of the public internet"),
        ("localhost", "localhost has no address of the public internet"),
    ],
)
def test_a_yard_that_others_can_reach_tells_nothing_to_a_private_address(
    open_to_all: tuple[Yard, str], site: Site, host: str, says: str
) -> None:
    url = f"http://{host}:{site.port}/hook"
    tell(*open_to_all, url)
    assert says in why_not_delivered(open_to_all[0], url)
    assert not site.posted


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Yard, str]]:
    """A yard that listens on all addresses, and a version on it that reads a file."""
    yard = Yard(tmp_path_factory.mktemp("open"), settings={"MODELYARD_HOST": "0.0.0.0"}).start()
    yield yard, yard.push("reads", READS)
    yard.end()


@pytest.mark.parametrize(
    ("settings", "fetched"),
    [
        ({"MODELYARD_PUBLIC_URL": PUBLIC_URL}, False),
        ({"MODELYARD_PUBLIC_URL": "http://localhost:9273"}, True),
        ({"MODELYARD_HOST": "0.0.0.0", "MODELYARD_PRIVATE_ADDRESSES": "allow"}, True),
        ({"MODELYARD_PRIVATE_ADDRESSES": "refuse"}, False),
    ],
)
def test_a_yard_with_a_name_serves_others_unless_it_is_told_otherwise(
    make_yard: Callable[..., Yard], site: Site, settings: dict[str, str], fetched: bool
) -> None:
    yard = make_yard(settings=settings).start()
    shown = fetch_in_a_prediction(yard, yard.push("reads", READS), f"http://127.0.0.1:{site.port}/file.txt")
    assert (shown["status"] == "succeeded") is fetched, shown["error"]
    assert bool(site.asked) is fetched


def test_a_yard_of_this_machine_alone_asks_private_addresses(yard: Yard, site: Site) -> None:
    version = yard.push("reads", READS)
    here = f"127.0.0.1:{site.port}"
    for url in (f"http://{here}/file.txt", f"http://{here}/to/{here}/file.txt"):
        shown = fetch_in_a_prediction(yard, version, url)
        assert (shown["status"], shown["output"]) == ("succeeded", "content"), shown["error"]
    tell(yard, version, f"http://{here}/hook")
    assert site.delivered("/hook")["output"] == "x"


def test_on_a_public_network_public_addresses_are_asked_and_redirects_to_private_ones_are_not_followed(
    tmp_path: Path,
) -> None:
    separate = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--net"]
    try:
        subprocess.run([*separate, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system gives no network of one's own: allow user namespaces (unshare --user --net)")
    program = [sys.executable, "-m", "tests.faults.test_addresses", str(tmp_path)]
    done = subprocess.run([*separate, *program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["direct"] == ["succeeded", "content", None]
    assert found["redirected"] == ["succeeded", "content", None]
    for name in ("to loopback", "to a name of loopback", "to private"):
        status, output, error = found[name]
        assert (status, output) == ("failed", None), name
        assert "input 'file' could not be fetched" in error
        assert "is not a public address" in error
    assert found["asked"].count("/file.txt") == 2
    assert found["posted"] == ["/public"]
    assert "127.0.0.1 is not an address of the public internet" in found["not posted"]


def _in_a_network_of_our_own(folder: Path) -> dict[str, Any]:
    """What a yard does on a host that has a public address. Called where nothing else uses the network."""
    _have_address("lo", "127.0.0.1")
    _have_address("lo:1", PUBLIC_ADDRESS)
    site, yard = Site(), Yard(folder, settings={"MODELYARD_HOST": "0.0.0.0"})
    public = f"{PUBLIC_ADDRESS}:{site.port}"
    found: dict[str, Any] = {"asked": site.asked}
    try:
        version = yard.start().push("reads", READS)
        for name, path in {
            "direct": "file.txt",
            "redirected": f"to/{public}/file.txt",
            "to loopback": f"to/127.0.0.1:{site.port}/file.txt",
            "to a name of loopback": f"to/localhost:{site.port}/file.txt",
            "to private": "to/10.1.2.3/file.txt",
        }.items():
            shown = fetch_in_a_prediction(yard, version, f"http://{public}/{path}")
            found[name] = [shown["status"], shown["output"], shown["error"]]
        refused = f"http://127.0.0.1:{site.port}/private"
        tell(yard, version, refused)
        found["not posted"] = why_not_delivered(yard, refused)
        tell(yard, version, f"http://{public}/public")
        site.delivered("/public")
        found["posted"] = [path for path, _ in site.posted]
    finally:
        yard.end()
    return found


def _have_address(interface: str, address: str) -> None:
    """Give an interface an address and switch it on (Linux: SIOCSIFADDR, SIOCSIFFLAGS with IFF_UP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        family = struct.pack("<HH", socket.AF_INET, 0)
        fcntl.ioctl(
            sock, 0x8916, struct.pack("16s", interface.encode()) + family + socket.inet_aton(address) + b"\0" * 8
        )
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", interface.encode(), 1))


# What a yard gives


def addresses(value: object) -> Iterator[str]:
    """Every address in a reply, wherever it stands, but for where its caller wants to be told."""
    if isinstance(value, str):
        # A JSON text or a header may hold several.
        yield from (word.strip('"<>;,') for word in value.split() if "://" in word)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from addresses(inner) if name != "webhook" else ()
    elif isinstance(value, list):
        for inner in value:
            yield from addresses(inner)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard behind a proxy, which is known by a public address; it has a model of files."""
    yard = Yard(tmp_path_factory.mktemp("behind"), settings=BEHIND).start()
    yard.push("writes", WRITES)
    yield yard
    yard.end()


def assert_public(reply: httpx.Response, *, at_least: int) -> Any:
    """Everything in a reply that is an address of this yard is the public one; gives the body."""
    assert reply.is_success, reply.text
    kind = reply.headers.get("content-type", "")
    body = reply.json() if kind.startswith("application/json") else reply.text
    found = [*addresses(body), *addresses(dict(reply.headers))]
    assert len(found) >= at_least, found
    assert [address for address in found if not address.startswith(f"{PUBLIC_URL}/")] == []
    return body


def test_every_address_of_a_prediction_is_the_public_one(behind: Yard, site: Site) -> None:
    hook = f"http://127.0.0.1:{site.port}/hook"
    model = behind.http.get("/v1/models/yard/writes").json()
    upload = behind.http.post("/v1/files", files={"content": ("a.txt", b"own file ")})
    own = assert_public(upload, at_least=2)["urls"]["get"]
    body = {"input": {"file": own}}
    created = behind.http.post("/v1/models/yard/writes/predictions", json=body, headers={"prefer": "wait"})
    made = assert_public(created, at_least=8)
    assert created.headers["location"] == f"{PUBLIC_URL}/v1/predictions/{made['id']}"
    assert made["urls"].keys() == {"get", "cancel", "stream", "web"}
    assert made["input"] == {"file": own}
    # The addresses work: what is behind the public one is this yard.
    first, _ = made["output"]
    assert behind.http.get(first.removeprefix(PUBLIC_URL)).text == "own file 0"
    shown = assert_public(behind.http.get(f"/v1/predictions/{made['id']}"), at_least=7)
    assert shown["output"] == made["output"]
    assert_public(behind.http.post(f"/v1/predictions/{made['id']}/cancel"), at_least=7)
    stream = behind.http.get(made["urls"]["stream"].removeprefix(PUBLIC_URL), headers={"accept": "text/event-stream"})
    assert list(addresses(assert_public(stream, at_least=2))) == made["output"]
    told = {"version": model["latest_version"]["id"], "input": {"file": own}, "webhook": hook}
    behind.http.post("/v1/predictions", json={**told, "webhook_events_filter": ["completed"]}).raise_for_status()
    found = [*addresses(site.delivered("/hook"))]
    assert len(found) == 7
    assert all(address.startswith(f"{PUBLIC_URL}/") for address in found)


def test_a_webhook_that_is_sent_after_a_restart_names_the_public_address_too(behind: Yard) -> None:
    version = behind.http.get("/v1/models/yard/writes").json()["latest_version"]["id"]
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    tell(behind, version, url)
    assert "Cannot connect" in why_not_delivered(behind, url)
    assert behind.stop() == 0
    behind.start()
    site = Site(port)
    try:
        found = [*addresses(site.delivered("/hook"))]
    finally:
        site.close()
    assert len(found) == 6
    assert all(address.startswith(f"{PUBLIC_URL}/") for address in found)


def test_a_file_that_came_inside_an_input_has_a_public_address(behind: Yard) -> None:
    long = "data:text/plain;base64," + base64.b64encode(b"long " * 10_000).decode()
    body = {"input": {"file": long}}
    reply = behind.http.post("/v1/models/yard/writes/predictions", json=body, headers={"prefer": "wait"})
    made = assert_public(reply, at_least=8)
    assert made["status"] == "succeeded", made["error"]
    assert made["input"]["file"].startswith(f"{PUBLIC_URL}/v1/files/")


def test_answers_that_are_streams_name_the_public_address_too(behind: Yard) -> None:
    body = {"input": {"file": "data:,x"}}
    headers = {"accept": "text/event-stream"}
    with behind.http.stream("POST", "/v1/models/yard/writes/predictions", json=body, headers=headers) as reply:
        assert reply.headers["location"].startswith(f"{PUBLIC_URL}/v1/predictions/")
        reply.read()
        assert_public(reply, at_least=3)


@pytest.mark.parametrize("what", ["predictions", "files", "models"])
def test_pages_lead_to_each_other_by_the_public_address(behind: Yard, what: str) -> None:
    for number in range(101):
        if what == "predictions":
            made = behind.http.post("/v1/models/yard/writes/predictions", json={"input": {"file": "data:,x"}})
        elif what == "files":
            made = behind.http.post("/v1/files", files={"content": ("a.txt", b"a")})
        else:
            names = {"owner": "yard", "name": f"model-{number}", "visibility": "private", "hardware": "cpu"}
            made = behind.http.post("/v1/models", json=names)
        assert_public(made, at_least=2)
    page = assert_public(behind.http.get(f"/v1/{what}"), at_least=10)
    seen = len(page["results"])
    while page["next"]:
        assert page["next"].startswith(f"{PUBLIC_URL}/v1/{what}?")
        page = assert_public(behind.http.get(page["next"].removeprefix(PUBLIC_URL)), at_least=1)
        seen += len(page["results"])
    assert seen >= 101


def test_models_files_and_the_registry_name_the_public_address(behind: Yard) -> None:
    model = assert_public(behind.http.get("/v1/models/yard/writes"), at_least=1)
    assert model["url"] == f"{PUBLIC_URL}/yard/writes"
    assert_public(behind.http.request("QUERY", "/v1/models", content="writes"), at_least=1)
    uploaded = behind.http.post("/v1/files", files={"content": ("a.txt", b"a")})
    assert uploaded.headers["location"] == uploaded.json()["urls"]["get"]
    assert_public(behind.http.get(f"/v1/files/{uploaded.json()['id']}"), at_least=1)
    begun = behind.http.post("/v2/yard/writes/blobs/uploads/")
    assert begun.status_code == 202
    assert_public(begun, at_least=1)


if __name__ == "__main__":
    print(json.dumps(_in_a_network_of_our_own(Path(sys.argv[1]))))
