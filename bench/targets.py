"""What is measured: the peer, the floor and ourselves, each a server with a model on it and the call that runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import environments
import load
import processes
from load import Call, Opening
from processes import Server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MODELS = HERE / "models"
YARD = Path(sys.executable).with_name("yard")
TOKEN = "r8_" + "bench" * 7 + "ab"
OWNER = "bench"
CONCURRENCY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of bench/models: its folder, an input, and what a right answer to that input holds."""

    name: str
    input: Mapping[str, Any]
    want: str = ""
    concurrent: bool = True

    @property
    def folder(self) -> Path:
        return MODELS / self.name


HELLO = Model(name="hello-async", input={"text": "bench"}, want="hello bench")
HELLO_SYNC = Model(name="hello", input={"text": "bench"}, want="hello bench", concurrent=False)
SLEEP = Model(name="sleep", input={"seconds": 0.05}, want='"output"')
TOKENS = Model(name="tokens-async", input={"count": 1000})
PACED = Model(name="paced", input={"count": 100, "interval_seconds": 0.02})
PICTURE = Model(name="picture", input={}, concurrent=False)
TORCH = Model(name="torch-small", input={"seed": 1}, want='"output"', concurrent=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model behind a server, and how it is called."""

    server: Server
    model: Model
    call: Call
    version: str = ""
    creates_first: bool = False

    def with_input(self, value: Mapping[str, Any]) -> Target:
        """The same with another input."""
        body = {**self.call.body, "input": value}
        return replace(self, model=replace(self.model, input=value), call=replace(self.call, body=body))

    def stream(self) -> Opening:
        """Open an event stream of one run; where a run is created first, that is part of its time."""
        if not self.creates_first:
            headers = {name: value for name, value in self.call.headers.items() if name != "Prefer"}
            return Opening(url=self.call.url, method="POST", body=self.call.body, headers=headers)
        started_at = time.monotonic()
        created = create(self.server, {"version": self.version, "input": self.model.input, "stream": True})
        url = created["urls"]["stream"]
        return Opening(url=url, method="GET", headers=self.call.headers, started_at=started_at)


Start = Callable[[], AbstractContextManager[Target]]


def create(server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
    """Create a prediction on a yard without waiting for it."""
    connection = load.Connection(server.url)
    status, reply = connection.ask("POST", "/v1/predictions", body=body, headers=authorization())
    connection.close()
    if status != 201:
        raise load.MeasuringError(f"creating a prediction was answered {status}: {reply[:300]!r}")
    return dict(json.loads(reply))


def authorization() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}


def _cog_target(server: Server, model: Model) -> Target:
    call = Call(url=f"{server.url}/predictions", body={"input": model.input}, want=model.want)
    return Target(server=server, model=model, call=call)


# The peer


@contextmanager
def coglet(
    model: Model, scratch: Path, *, environment: environments.Environment = environments.COG
) -> Iterator[Target]:
    """The real Cog server with the model's schema, as in an image that Cog built."""
    folder = scratch / "coglet" / model.name
    if not folder.exists():
        shutil.copytree(model.folder, folder)
        _write_schema(folder)
    variables = {
        "PATH": f"{environment.python.parent}:{os.environ['PATH']}",
        "COG_PREDICT_TYPE_STUB": "run.py:Runner",
        "COG_MAX_CONCURRENCY": str(CONCURRENCY if model.concurrent else 1),
        "COG_LOG_LEVEL": "warn",
    }
    with processes.running(
        "coglet",
        lambda _: [str(environment.python), "-m", "cog.server.http", "--host", "127.0.0.1"],
        folder=folder,
        scratch=scratch,
        environment=variables,
        ready=lambda server: processes.answers(server, "/health-check", b'"READY"'),
    ) as server:
        yield _cog_target(server, model)


def _write_schema(folder: Path) -> None:
    """Cog writes the schema when it builds an image; ours is read from the same source and has the same shape."""
    from modelyard.packaging import schema

    document = schema.read(folder, "run.py:Runner", "predict")
    (folder / ".cog").mkdir(exist_ok=True)
    (folder / ".cog" / "openapi_schema.json").write_text(json.dumps(document))


# The same function in the server itself


@contextmanager
def inline(model: Model, scratch: Path) -> Iterator[Target]:
    """FastAPI with the function in its own process: no worker, no states, no cancellation."""
    with processes.running(
        "FastAPI",
        lambda port: [
            *(str(environments.FASTAPI.python), "-m", "uvicorn", "fastapi_peer:app"),
            *("--app-dir", str(HERE), "--port", str(port), "--no-access-log"),
        ],
        folder=model.folder,
        scratch=scratch,
        environment={},
        ready=lambda server: processes.answers(server, "/health-check", b"READY"),
    ) as server:
        yield _cog_target(server, model)


# The floor


@contextmanager
def floor(model: Model, scratch: Path) -> Iterator[Target]:
    with processes.running(
        "floor",
        lambda port: [sys.executable, str(HERE / "floor.py"), "--port", str(port), str(model.folder)],
        folder=model.folder,
        scratch=scratch,
        environment={"PYTHONPATH": str(ROOT / "sdk" / "src")},
        ready=lambda server: processes.answers(server, "/", b"READY"),
    ) as server:
        yield _cog_target(server, model)


# Ourselves


@contextmanager
def serve(model: Model, scratch: Path) -> Iterator[Target]:
    """`yard serve`: one model alone behind Cog's API."""
    with processes.running(
        "yard serve",
        lambda port: [str(YARD), "serve", "--port", str(port)],
        folder=model.folder,
        scratch=scratch,
        environment=home(scratch),
        ready=lambda server: processes.answers(server, "/health-check", b'"READY"'),
    ) as server:
        yield _cog_target(server, model)


def home(scratch: Path) -> dict[str, str]:
    """A home of its own, so that nothing that a developer configured takes part."""
    return {
        "HOME": str(scratch / "home"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv")),
    }


@contextmanager
def yard(
    scratch: Path, *, fsync: str = "power", idle_seconds: float = 3600, name: str = "yard", **more: str
) -> Iterator[Server]:
    """A whole yard on a data folder of its own; `more`: variables of its environment."""
    variables = {
        **home(scratch),
        "MODELYARD_ADMIN_TOKEN": TOKEN,
        "MODELYARD_OWNER": OWNER,
        "MODELYARD_FSYNC": fsync,
        "MODELYARD_IDLE_TIMEOUT_SECONDS": str(idle_seconds),
        **more,
    }
    data = scratch / name.replace(" ", "-")
    with processes.running(
        name,
        lambda port: [str(YARD), "up", "--port", str(port), "--data", str(data)],
        folder=scratch,
        scratch=scratch,
        environment=variables,
        ready=lambda server: processes.answers(server, "/healthz", b""),
    ) as server:
        yield server


def push(
    server: Server,
    model: Model,
    *,
    name: str | None = None,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Target:
    """Push a model to a yard, as its author does, and say how it is called. `variables` of whoever pushes; without
    them there is no base."""
    name = name or model.name
    links = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if os.environ.get("PIP_FIND_LINKS") else {}
    told = {"MODELYARD_BASE_IMAGE": "none", **(variables or {}), "MODELYARD_URL": server.url, "MODELYARD_TOKEN": TOKEN}
    subprocess.run(
        [str(YARD), "push", f"{OWNER}/{name}"],
        cwd=folder or model.folder,
        env={**os.environ, **links, **told},
        check=True,
        capture_output=True,
    )
    connection = load.Connection(server.url)
    _, reply = connection.ask("GET", f"/v1/models/{OWNER}/{name}", headers=authorization())
    connection.close()
    version = json.loads(reply)["latest_version"]["id"]
    call = Call(
        url=f"{server.url}/v1/predictions",
        body={"version": version, "input": model.input},
        want=model.want,
        headers={**authorization(), "Prefer": "wait=60"},
    )
    return Target(server=server, model=model, call=call, version=version)


def first_result(target: Target) -> Target:
    """Run the model until it has answered rightly once: what is started on demand is then there. Gives the target."""
    call = target.call

    def answered() -> bool:
        connection = load.Connection(call.url)
        try:
            path = call.url.removeprefix(target.server.url)
            status, body = connection.ask("POST", path, body=call.body, headers=call.headers)
        except load.MeasuringError:
            return False
        finally:
            connection.close()
        if b'"failed"' in body and status < 300:
            raise load.MeasuringError(f"{target.server.name}: {body[:500]!r}")
        return status < 300 and b'"succeeded"' in body

    processes.wait_until(answered, f"{target.server.name} has a first result")
    return target
