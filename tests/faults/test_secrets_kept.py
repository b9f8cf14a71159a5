"""Secrets of models and of inputs on a real yard: who has them, where they are not, and what a kill changes."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.faults.yard import Yard

KEY = "sk-model-tell-nobody"
NEXT_KEY = "sk-other-tell-nobody"
TOKEN = "tok-input-tell-nobody"

TELLS = """
import hashlib, os, subprocess, sys, time
from cog import BaseRunner, Input, Secret
print("loaded with", os.environ.get("API_KEY"))

def wait_for(gate):
    while gate and not os.path.exists(gate):
        time.sleep(0.02)

def tell(*values):
    for value in values:
        print("whole", value)
        sys.stdout.write((value or "")[:9])
        sys.stdout.flush()
        time.sleep(0.1)
        sys.stdout.write((value or "")[9:] + "\\n")
        sys.stdout.flush()
    # Last: what another process prints comes by another way, and must not get between two halves.
    for value in values:
        subprocess.run(["echo", "by another process", value or ""])
    time.sleep(0.2)

class Runner(BaseRunner):
    def setup(self):
        tell(os.environ.get("API_KEY"))
        wait_for(os.environ.get("SETUP_GATE"))
    def run(self, token: Secret = Input(default=None), gate: str = "", fails: bool = False) -> str:
        key = os.environ.get("API_KEY")
        value = token.get_secret_value() if token else None
        tell(key, value)
        wait_for(gate)
        tell(key, value)
        if fails:
            raise ValueError(f"neither {key} nor {value} fits")
        return hashlib.sha256(f"{key} {value}".encode()).hexdigest()
"""


def expected(key: str | None, token: str | None) -> str:
    return hashlib.sha256(f"{key} {token}".encode()).hexdigest()


def holding(folder: Path, *values: str) -> list[str]:
    """The files below a folder that hold one of the values."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and any(value.encode() in path.read_bytes() for value in values):
                found.append(str(path))
    return found


def set_secret(yard: Yard, model: str, value: str, name: str = "API_KEY") -> None:
    reply = yard.http.put(f"/v1/models/yard/{model}/secrets/{name}", json={"value": value})
    assert reply.status_code == 200, reply.text
    assert value not in reply.text


def replies(yard: Yard, prediction: dict[str, Any]) -> str:
    """Everything that the yard says of a prediction, its model and its instances."""
    said = [yard.http.get(f"/v1/predictions/{prediction['id']}"), yard.http.get("/v1/predictions")]
    said += [yard.http.get("/v1/models"), yard.http.get("/v1/yard"), yard.http.get("/v1/models/yard/tells/secrets")]
    instances = yard.http.get("/v1/instances", params={"ended": "true"})
    said += [instances, *(yard.http.get(f"/v1/instances/{one['id']}/logs") for one in instances.json()["results"])]
    link = yard.http.post("/v1/login-links").json()["url"]
    with closing(type(yard.http)(follow_redirects=True, timeout=30)) as browser:
        said.append(browser.get(link))
        said += [browser.get(f"{yard.url}{path}") for path in (f"/p/{prediction['id']}", "/yard/tells", "/yard")]
    for reply in said:
        assert reply.status_code < 500, reply.text
    return "\n".join(reply.text for reply in said)


def until(condition: Callable[[], Any], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.02)


def kill_all(yard: Yard) -> None:
    yard.kill()
    for worker in yard.workers():
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    until(lambda: not yard.workers())


def instance_secrets(yard: Yard) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(f"{(yard.data / 'yard.db').as_uri()}?mode=ro", uri=True, timeout=10)) as database:
        return list(database.execute("SELECT state, secrets FROM instances ORDER BY created_at"))


@pytest.fixture
def heard() -> Iterator[tuple[str, list[str]]]:
    """Where webhooks may go, and what came."""
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", bodies
    server.shutdown()
    server.server_close()


@pytest.fixture
def tells(yard: Yard) -> str:
    """A model that prints all that it should not, with a secret."""
    version = yard.push("tells", TELLS)
    set_secret(yard, "tells", KEY)
    return version


def test_nothing_that_is_kept_or_shown_holds_a_secret(yard: Yard, tells: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    made = yard.create(tells, {"token": TOKEN, "gate": str(gate)})
    assert made["input"]["token"] == "[REDACTED]"
    yard.until(made["id"], lambda shown: shown["logs"].count("[secret]") >= 6)
    assert yard.row_until(made["id"], lambda row: True)["secrets"].startswith("1.")
    assert '"token":"[REDACTED]"' in yard.rows()[made["id"]]["input"].replace(" ", "")
    assert holding(yard.folder, KEY, TOKEN) == []
    shown = replies(yard, made)
    assert KEY not in shown
    assert TOKEN not in shown
    with yard.http.stream("GET", made["urls"]["stream"], headers={"accept": "text/event-stream"}) as events:
        gate.touch()
        streamed = "".join(events.iter_text())
    assert "[secret]" in streamed
    assert KEY not in streamed
    assert TOKEN not in streamed
    ended = yard.finished(made["id"])
    assert (ended["status"], ended["output"]) == ("succeeded", expected(KEY, TOKEN)), ended
    assert ended["logs"].count("[secret]") == 12, ended["logs"]
    assert yard.rows()[made["id"]]["secrets"] is None
    assert holding(yard.folder, KEY, TOKEN) == []
    shown = replies(yard, made)
    assert KEY not in shown
    assert TOKEN not in shown

    failing = yard.finished(yard.create(tells, {"token": TOKEN, "fails": True})["id"])
    assert failing["status"] == "failed"
    assert failing["error"] == "ValueError: neither [secret] nor [secret] fits"
    assert yard.rows()[failing["id"]]["secrets"] is None
    shown = replies(yard, failing)
    assert KEY not in shown
    assert TOKEN not in shown
    assert "loaded with [secret]" in shown
    assert holding(yard.folder, KEY, TOKEN) == []


def test_webhooks_hold_no_secret(yard: Yard, tells: str, heard: tuple[str, list[str]]) -> None:
    address, bodies = heard
    body = {"version": tells, "input": {"token": TOKEN, "fails": True}, "webhook": address}
    assert yard.finished(yard.http.post("/v1/predictions", json=body).json()["id"])["status"] == "failed"
    until(lambda: any('"status":"failed"' in each for each in bodies))
    assert "neither [secret] nor [secret] fits" in str(bodies)
    assert KEY not in str(bodies)
    assert TOKEN not in str(bodies)
    assert holding(yard.folder, KEY, TOKEN) == []


def test_only_the_models_own_workers_have_its_secret_and_the_next_run_has_the_new_value(yard: Yard, tells: str) -> None:
    other = yard.push("other", TELLS + "\n# of another model\n")
    assert yard.finished(yard.create(other, {})["id"])["output"] == expected(None, None)
    assert yard.finished(yard.create(tells, {})["id"])["output"] == expected(KEY, None)
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in yard.workers()]
    assert [KEY.encode() in each for each in environments].count(True) == 1
    assert yard.data.joinpath("yard.db").exists()
    assert KEY.encode() not in Path(f"/proc/{yard.process.pid}/environ").read_bytes()  # type: ignore[union-attr]

    set_secret(yard, "tells", NEXT_KEY)
    again = yard.finished(yard.create(tells, {})["id"])
    assert again["output"] == expected(NEXT_KEY, None)
    assert NEXT_KEY not in again["logs"]
    assert yard.http.delete("/v1/models/yard/tells/secrets/API_KEY").status_code == 204
    assert yard.finished(yard.create(tells, {})["id"])["output"] == expected(None, None)
    ended = yard.http.get("/v1/instances", params={"ended": "true"}).json()["results"]
    until(lambda: [state for state, sealed in instance_secrets(yard) if sealed is not None] == [])
    assert "the secrets of its model changed" in str(ended)


def test_a_secret_input_survives_a_kill_between_acceptance_and_run(
    make_yard: Callable[..., Yard], tmp_path: Path
) -> None:
    yard, gate = make_yard().start(), tmp_path / "gate"
    version = yard.push("tells", TELLS, yaml=f"environment: ['SETUP_GATE={gate}']\n")
    set_secret(yard, "tells", KEY)
    made = yard.create(version, {"token": TOKEN})
    until(yard.workers)
    kill_all(yard)
    assert yard.rows()[made["id"]]["secrets"] is not None
    assert holding(yard.folder, KEY, TOKEN) == []
    yard.start()
    gate.touch()
    ended = yard.finished(made["id"])
    assert (ended["status"], ended["output"]) == ("succeeded", expected(KEY, TOKEN)), ended
    assert yard.rows()[made["id"]]["secrets"] is None
    assert holding(yard.folder, KEY, TOKEN) == []


def test_a_worker_that_outlives_its_yard_is_still_masked_and_does_not_keep_an_old_secret(
    yard: Yard, tells: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    made = yard.create(tells, {"token": TOKEN, "gate": str(gate)})
    yard.until(made["id"], lambda shown: shown["logs"].count("[secret]") >= 6)
    yard.row_until(made["id"], lambda row: row["instance_id"] is not None)
    set_secret(yard, "tells", NEXT_KEY)
    workers = yard.workers()
    yard.kill()
    yard.start()
    assert set(workers) <= set(yard.workers())
    gate.touch()
    ended = yard.finished(made["id"])
    assert (ended["status"], ended["output"]) == ("succeeded", expected(KEY, TOKEN)), ended
    assert ended["logs"].count("[secret]") >= 12, ended["logs"]
    assert KEY not in ended["logs"]
    assert TOKEN not in ended["logs"]
    assert yard.finished(yard.create(tells, {})["id"])["output"] == expected(NEXT_KEY, None)
    assert holding(yard.folder, KEY, NEXT_KEY, TOKEN) == []


def test_a_changed_row_fails_its_prediction_and_says_why(yard: Yard, tells: str) -> None:
    yard.push("tells", TELLS, yaml=f"environment: ['SETUP_GATE={yard.folder / 'gate'}']\n")
    version = yard.http.get("/v1/models/yard/tells").json()["latest_version"]["id"]
    one, other = (yard.create(version, {"token": value}) for value in (TOKEN, "another-token"))
    until(yard.workers)
    kill_all(yard)
    sealed = {made["id"]: yard.rows()[made["id"]]["secrets"] for made in (one, other)}
    with closing(sqlite3.connect(yard.data / "yard.db")) as database, database:
        database.execute("UPDATE predictions SET secrets = ? WHERE id = ?", (sealed[other["id"]], one["id"]))
    yard.start()
    (yard.folder / "gate").touch()
    ended = yard.finished(one["id"])
    assert ended["status"] == "failed"
    assert "A secret input of this prediction is damaged" in ended["error"]
    assert yard.finished(other["id"])["output"] == expected(KEY, "another-token")
    assert yard.rows()[one["id"]]["secrets"] is None


@pytest.mark.parametrize("loss", ["lost", "wrong"])
def test_a_yard_without_the_right_key_starts_and_says_what_it_lacks(
    make_yard: Callable[..., Yard], tmp_path: Path, loss: str
) -> None:
    gate = tmp_path / "gate"
    yard = make_yard().start()
    version = yard.push("tells", TELLS, yaml=f"environment: ['SETUP_GATE={gate}']\n")
    plain = yard.push("plain", TELLS)
    waiting = yard.create(version, {"token": TOKEN})
    set_secret(yard, "plain", KEY)
    until(yard.workers)
    kill_all(yard)
    key = (yard.data / "secret.key").read_text().strip()
    assert (yard.data / "secret.key").stat().st_mode & 0o777 == 0o600
    if loss == "lost":
        (yard.data / "secret.key").unlink()
    else:
        (yard.data / "secret.key").write_text(base64.b64encode(bytes(32)).decode())
    yard.start()
    gate.touch()
    said = "is missing" if loss == "lost" else "was sealed with key"
    ended = yard.finished(waiting["id"])
    assert ended["status"] == "failed"
    assert said in ended["error"], ended
    refused = yard.finished(yard.create(plain, {})["id"])
    assert "Secret API_KEY of the model cannot be opened" in refused["error"]
    assert said in refused["error"]
    assert "secret.key" in refused["error"]
    assert yard.finished(yard.create(version, {})["id"])["status"] == "succeeded"
    assert key not in yard.log() + str(refused) + str(ended)
    # It is set again, and works again.
    set_secret(yard, "plain", NEXT_KEY)
    until(lambda: yard.finished(yard.create(plain, {})["id"])["output"] == expected(NEXT_KEY, None))


def test_a_long_input_goes_by_a_file_that_lacks_its_secret(yard: Yard) -> None:
    source = TELLS.replace('gate: str = ""', 'gate: str = "", long: str = ""')
    version = yard.push("tells", source)
    made = yard.create(version, {"token": TOKEN, "long": "x" * 400_000})
    ended = yard.finished(made["id"])
    assert (ended["status"], ended["output"]) == ("succeeded", expected(None, TOKEN)), ended
    assert holding(yard.folder, TOKEN) == []
