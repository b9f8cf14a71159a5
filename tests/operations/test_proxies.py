"""The samples in `deploy/`, run by the real nginx and Caddy before a real yard; only ports and paths are put in."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import certificates
import httpx
import pytest

from tests.faults.yard import TOKEN, Yard, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "yard.example.org"

# Says its next word when somebody has heard the last one and made the file that is named.
WAITS = """
import os, time
from collections.abc import Iterator
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, heard: str) -> Iterator[str]:
        for number in range(3):
            yield f"word{number}"
            while number < 2 and not os.path.exists(f"{heard}.{number}"):
                time.sleep(0.01)
"""


class Proxy:
    """One that runs before a yard: its own address, and clients that trust its certificate."""

    def __init__(self, yard: Yard, port: int, pair: certificates.Pair) -> None:
        self.yard = yard
        self.host = f"localhost:{port}"
        self.url = f"https://{self.host}"
        self.trust = ssl.create_default_context(cafile=str(pair.chain))
        self.http = httpx.Client(
            base_url=self.url, verify=self.trust, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60
        )


def put_in(text: str, replaced: dict[str, str]) -> str:
    """The sample with some of its words replaced, each of which must be there."""
    for old, new in replaced.items():
        assert old in text, f"the sample has no {old!r}"
        text = text.replace(old, new)
    return text


def nginx(folder: Path, yard: Yard, port: int, pair: certificates.Pair) -> list[str]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed (apt-get install nginx)")
    sample = put_in(
        (DEPLOY / "nginx.conf").read_text(),
        {
            "127.0.0.1:9273": f"127.0.0.1:{yard.port}",
            "listen [::]:443 ssl;": "",
            "listen [::]:80;": "",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "listen 80": f"listen 127.0.0.1:{free_port()}",
            "/etc/ssl/modelyard/chain.pem": str(pair.chain),
            "/etc/ssl/modelyard/key.pem": str(pair.key),
        },
    )
    (folder / "modelyard.conf").write_text(sample)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}include {folder}/modelyard.conf;\n}}\n"
    )
    checked = subprocess.run(
        [program, "-t", "-c", str(folder / "nginx.conf"), "-p", str(folder)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    return [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]


def caddy(folder: Path, yard: Yard, port: int, pair: certificates.Pair) -> list[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed (apt-get install caddy)")
    sample = put_in(
        (DEPLOY / "Caddyfile").read_text(),
        {
            # No certificate is asked for from here: it is given one.
            f"\n{NAME} {{\n": f"\nhttps://localhost:{port} {{\n\ttls {pair.chain} {pair.key}\n",
            "127.0.0.1:9273": f"127.0.0.1:{yard.port}",
        },
    )
    (folder / "modelyard").write_text(sample)
    (folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}/state\n}}\n"
        f"import {folder}/modelyard\n"
    )
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    yard = Yard(tmp_path_factory.mktemp("yard")).start()
    yard.push("waits", WAITS)
    yield yard
    yard.end()


@pytest.fixture(scope="module", params=[nginx, caddy])
def proxy(request: pytest.FixtureRequest, yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    configure: Callable[[Path, Yard, int, certificates.Pair], list[str]] = request.param
    folder = tmp_path_factory.mktemp(configure.__name__)
    port, pair = free_port(), certificates.make(folder)
    command = configure(folder, yard, port, pair)
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    found = Proxy(yard, port, pair)
    try:
        deadline = time.monotonic() + 30
        while not _answers(found):
            assert process.poll() is None, (folder / "proxy.log").read_text()
            assert time.monotonic() < deadline, (folder / "proxy.log").read_text()
            time.sleep(0.05)
        yield found
    finally:
        found.http.close()
        process.terminate()
        process.wait(20)


def _answers(proxy: Proxy) -> bool:
    try:
        return proxy.http.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def words(proxy: Proxy, heard: Path, lines: Iterator[str]) -> list[str]:
    """The words of a stream, each next one asked for only when the one before has arrived."""
    found: list[str] = []
    for line in lines:
        if line.startswith("data: word"):
            found.append(line.removeprefix("data: "))
            Path(f"{heard}.{len(found) - 1}").touch()
        if line == "event: done":
            break
    return found


def test_events_arrive_one_by_one_while_a_stream_is_read(proxy: Proxy, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    made = proxy.http.post("/v1/models/yard/waits/predictions", json={"input": {"heard": str(heard)}}).json()
    stream = f"/v1/streams/{made['urls']['stream'].rpartition('/')[2]}"
    with proxy.http.stream("GET", stream, headers={"accept": "text/event-stream"}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert words(proxy, heard, reply.iter_lines()) == ["word0", "word1", "word2"]


def test_events_arrive_one_by_one_where_the_answer_to_a_post_is_the_stream(proxy: Proxy, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    with proxy.http.stream(
        "POST",
        "/v1/models/yard/waits/predictions",
        json={"input": {"heard": str(heard)}},
        headers={"accept": "text/event-stream"},
    ) as reply:
        assert words(proxy, heard, reply.iter_lines()) == ["word0", "word1", "word2"]


def test_a_body_of_a_hundred_megabytes_passes(proxy: Proxy) -> None:
    content = b"0123456789abcdef" * (100_000_000 // 16)
    kept = proxy.http.post("/v1/files", files={"content": ("large.bin", content)})
    assert kept.status_code == 201, kept.text
    assert kept.json()["size"] == len(content)


def test_a_layer_of_an_image_passes_in_one_request_and_comes_back(proxy: Proxy) -> None:
    content = b"fedcba9876543210" * (150_000_000 // 16)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    begun = proxy.http.post("/v2/yard/waits/blobs/uploads/")
    assert begun.status_code == 202
    sent = proxy.http.put(
        f"/v2/{begun.headers['location'].partition('/v2/')[2]}",
        params={"digest": digest},
        content=content,
        headers={"content-type": "application/octet-stream"},
    )
    assert sent.status_code == 201, sent.text
    assert proxy.http.get(f"/v2/yard/waits/blobs/{digest}").content == content


def test_a_request_of_the_method_query_passes_with_its_body(proxy: Proxy) -> None:
    reply = proxy.http.request("QUERY", "/v1/models", content="waits")
    assert reply.status_code == 200, reply.text
    assert [model["name"] for model in reply.json()["results"]] == ["waits"]
    assert proxy.http.request("QUERY", "/v1/models", content="nothing like it").json()["results"] == []


def test_the_name_that_the_caller_used_reaches_the_yard(proxy: Proxy) -> None:
    made = proxy.http.post("/v1/models/yard/waits/predictions", json={"input": {"heard": "x"}}).json()
    assert made["urls"]["get"].partition("://")[2].startswith(f"{proxy.host}/v1/predictions/")
    proxy.http.post(f"/v1/predictions/{made['id']}/cancel")


@pytest.mark.parametrize("through", ["proxy", "yard"])
def test_nobody_lends_the_yard_another_address(proxy: Proxy, through: str) -> None:
    asked = proxy.http if through == "proxy" else proxy.yard.http
    forged = {
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "gopher",
        "x-forwarded-prefix": "/evil",
        "forwarded": "for=203.0.113.9;host=evil.example;proto=gopher",
    }
    body = {"input": {"heard": "x"}}
    made = asked.post("/v1/models/yard/waits/predictions", json=body, headers=forged)
    assert made.status_code == 201, made.text
    host = proxy.host if through == "proxy" else f"127.0.0.1:{proxy.yard.port}"
    addresses = [made.headers["location"], *made.json()["urls"].values()]
    assert {address.partition("://")[2].partition("/")[0] for address in addresses} == {host}
    assert "evil" not in made.text + str(made.headers)
    assert "gopher" not in made.text + str(made.headers)
    asked.post(f"/v1/predictions/{made.json()['id']}/cancel")


def test_a_browser_that_signs_in_through_it_may_change_things(proxy: Proxy) -> None:
    link = proxy.http.post("/v1/login-links").json()["url"]
    with httpx.Client(base_url=proxy.url, verify=proxy.trust, follow_redirects=True) as browser:
        browser.get("/login/" + link.rpartition("/login/")[2])
        signed = browser.post("/login/" + link.rpartition("/login/")[2], headers={"origin": proxy.url})
        assert signed.status_code < 400, signed.text
        assert browser.cookies
        body = {"input": {"heard": "x"}}
        made = browser.post("/v1/models/yard/waits/predictions", json=body, headers={"origin": proxy.url})
        assert made.status_code == 201, made.text
        foreign = browser.post(
            "/v1/models/yard/waits/predictions", json=body, headers={"origin": "https://elsewhere.example"}
        )
        assert foreign.status_code == 403
        proxy.http.post(f"/v1/predictions/{made.json()['id']}/cancel")


def test_a_request_keeps_its_id_on_the_way(proxy: Proxy) -> None:
    assert proxy.http.get("/healthz", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert proxy.http.get("/healthz").headers["x-request-id"]
