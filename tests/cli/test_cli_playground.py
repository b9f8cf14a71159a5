"""`yard playground` and `yard serve --playground`: a page for a model that is served, and the model behind it."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import playground_process
import pytest
from yard_process import YARD, Run, environment

from modelyard.cli.playground_target import seconds_between

MODEL = """
from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def run(
        self,
        file: Path = Input(description="What is counted"),
        times: int = Input(description="How often", default=1, ge=1, le=5),
    ) -> str:
        return f"{len(file.read_bytes()) * times} bytes"
"""


SLOW = """
import pathlib
import time

from cog import BaseRunner


class Runner(BaseRunner):
    def setup(self) -> None:
        print("a line of its setup")
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        raise RuntimeError("bad weights")

    def run(self) -> str:
        return ""
"""


WAITS = """
import pathlib
import time

from cog import BaseRunner, CancelationException


class Runner(BaseRunner):
    def run(self, name: str, seconds: float) -> str:
        pathlib.Path(f"{name} begun").touch()
        try:
            time.sleep(seconds)
        except CancelationException:
            pathlib.Path(f"{name} canceled").touch()
            raise
        return "waited"
"""


class Reply(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


def ask(
    url: str, body: bytes | None = None, kind: str = "application/json", method: str | None = None, **headers: str
) -> Reply:
    sent = {"Content-Type": kind} if body is not None else {}
    request = urllib.request.Request(url, body, {**sent, **headers}, method=method)
    try:
        reply = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        return Reply(reply.status or 0, reply.read().decode(), {k.lower(): v for k, v in reply.headers.items()})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A model, and the page beside it."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (folder / "run.py").write_text(MODEL)
    with playground_process.serving(folder, tmp_path_factory.mktemp("home")) as addresses:
        yield addresses


def test_the_page_has_a_form_of_the_models_inputs(served: tuple[str, str]) -> None:
    page = ask(served[1])
    assert page.status == 200
    assert re.findall(r'data-field="(\w+)" data-control="(\w+)"', page.text) == [("file", "file"), ("times", "slider")]
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert ask(served[1] + address).status == 200


def test_a_file_becomes_an_input_and_a_run_goes_to_the_model(served: tuple[str, str]) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="content"; filename="a.bin"\r\n'
        b"Content-Type: application/x-thing\r\n\r\n\x00\r\n\xff\r\n--b--\r\n"
    )
    kept = json.loads(ask(served[1] + "/v1/files", body, "multipart/form-data; boundary=b").text)["urls"]["get"]
    assert kept == "data:application/x-thing;base64,AA0K/w=="
    sent = json.dumps({"input": {"file": kept, "times": 2}}).encode()
    reply = ask(served[1] + "/model/predictions/abc", sent, method="PUT")
    assert reply.status == 200
    assert json.loads(reply.text)["output"] == "8 bytes"
    assert ask(served[1] + "/model/health-check").text == ask(served[0] + "/health-check").text


def test_what_the_model_refuses_is_refused(served: tuple[str, str]) -> None:
    direct = ask(served[0] + "/predictions", b'{"input": {}}')
    through = ask(served[1] + "/model/predictions", b'{"input": {}}')
    assert (through.status, through.text) == (direct.status, direct.text)
    assert through.status == 422
    assert ask(served[1] + "/v1/files", b"--b--\r\n", "multipart/form-data; boundary=b").status == 400


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}], ids=str
)
@pytest.mark.parametrize("path", ["/", "/state", "/model/health-check", "/v1/files"])
def test_other_sites_are_not_answered(served: tuple[str, str], headers: dict[str, str], path: str) -> None:
    body = b"" if path == "/v1/files" else None
    assert ask(served[1] + path, body, **headers).status == 403


def test_a_page_that_is_closed_cancels_the_run_that_it_waits_for(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(WAITS)
    with playground_process.serving(tmp_path, home) as (_, page):
        host, _, port = page.removeprefix("http://").partition(":")
        body = json.dumps({"input": {"name": "one", "seconds": 600}})
        with socket.create_connection((host, int(port))) as tab:
            head = f"POST /model/predictions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            tab.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            appears(tmp_path / "one begun")
        appears(tmp_path / "one canceled")
        again = ask(f"{page}/model/predictions", b'{"input": {"name": "two", "seconds": 0.2}}')
        assert json.loads(again.text)["output"] == "waited"


def appears(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_the_two_ports_differ_and_a_taken_one_is_named(yard: Run, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(MODEL)
    same = yard("serve", "--playground", "--playground-port", "8393")
    assert same.returncode == 2
    assert same.stderr == "error: playground port 8393 must differ from the model port 8393\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ("serve", "-p", "0", "--playground", "--playground-port", port)
        for done, flag in ((yard(*words), "--playground-port"), (yard("playground", "-p", port), "-p")):
            assert done.returncode == 1
            assert f"error: the playground cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
            assert f"hint: choose another with {flag}; 0 takes a free one" in done.stderr
    elsewhere = yard("playground", "--host", "203.0.113.9")
    assert (elsewhere.returncode, "hint: --host is an address of this machine" in elsewhere.stderr) == (1, True)
    wrong = yard("playground", "--target", "gpu-box")
    assert (wrong.returncode, "--target is 'gpu-box'; wanted: an address" in wrong.stderr) == (2, True)


@contextmanager
def page_of(target: str, home: Path, folder: Path) -> Iterator[str]:
    """The address of `yard playground`, which is stopped by Ctrl-C."""
    words = [YARD, "playground", "--target", target, "--no-open", "--webhook-host", "localhost"]
    process = subprocess.Popen(words, cwd=folder, env=environment(home), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.fullmatch(r"Cog playground running at (http://localhost:\d+)\n", line)
        assert found, line
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(30)
        process.stderr.close()
    assert status == 130


def test_a_page_whose_model_is_away_says_so_until_it_is_back(home: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with page_of(target, home, tmp_path) as address:
        page = ask(address)
        assert page.status == 502
        assert "Nobody answers there with a schema." in page.text
        assert json.loads(ask(address + "/state").text)["state"] == "AWAY"
        assert ask(address + "/model/health-check").status == 502


@pytest.mark.parametrize("status", [200, 404, 503])
def test_a_server_that_is_no_models_is_called_so(home: Path, tmp_path: Path, status: int) -> None:
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<p>Hello</p>")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever).start()
        with page_of(f"http://127.0.0.1:{server.server_port}", home, tmp_path) as address:
            page = ask(address)
        server.shutdown()
    assert page.status == 502
    assert "What answers there is no model's server: it has no schema of inputs." in page.text


def test_a_page_of_a_model_that_is_set_up_says_so_and_then_how_it_failed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(SLOW)
    with playground_process.serving(tmp_path, home, until="Playground at") as (_, address):
        page = ask(address)
        assert page.status == 503
        assert "The model is being set up…" in page.text
        assert "no model's server" not in page.text
        (tmp_path / "go").touch()
        deadline = time.monotonic() + 60
        while json.loads(ask(address + "/state").text)["state"] == "STARTING":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        page = ask(address)
        assert page.status == 503
        assert "The model's setup failed." in page.text
        assert "a line of its setup" in page.text
        assert "RuntimeError: bad weights" in page.text


@pytest.mark.parametrize(
    ("began", "now", "seconds"),
    [
        ("2026-11-26T18:08:19.500000Z", "Thu, 26 Nov 2026 18:08:32 GMT", 12.5),
        ("2026-11-26T18:08:19.500000123Z", "Thu, 26 Nov 2026 18:08:32 GMT", 12.5),
        ("2026-11-26T18:08:19", "Thu, 26 Nov 2026 18:08:20 -0000", 1),
        ("2026-11-26T18:08:19Z", "Thu, 26 Nov 2026 18:08:18 GMT", 0),
        (None, "Thu, 26 Nov 2026 18:08:18 GMT", 0),
        ("2026-11-26T18:08:19Z", None, 0),
        ("yesterday", "today", 0),
    ],
)
def test_how_long_a_setup_runs_is_told_by_the_servers_own_clock(began: object, now: str | None, seconds: float) -> None:
    assert seconds_between(began, now) == seconds
