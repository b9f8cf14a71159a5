"""One container of the Docker Engine here that serves a model: started, waited for, and gone with whoever wanted it."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.cli import docker, wire
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.oci import labels

PORT = 5000
PROJECT = "/src"
# What Cog gives a container, and what torch's workers need.
_SHARED_MEMORY = "6G"
_HOST_NAME = "host.docker.internal:host-gateway"
_LOOK_SECONDS = 0.1
_ASK_SECONDS = 5.0
_LAST_WORDS_SECONDS = 5.0
_START_SECONDS = 120.0
_GONE_SECONDS = 20.0
# Waits until nobody holds its standard input any more, however that came about. Who was killed, and so said nothing,
# may have left a `docker run` behind that has yet to make the container: then it is looked for again for some seconds.
_KEEPER = """
read -r _ && left=1 || left=40
until [ "$(docker rm --force --volumes "$0")" ] || [ $((left -= 1)) -le 0 ]; do sleep 0.5; done
"""
_ITS_FATE_IS_KNOWN = b"\n"
_NO_GPU = ("could not select device driver", "missing device driver")
_WITHOUT_GPU = "Missing device driver, re-trying without GPU"
_BEGINNING = ("UNKNOWN", "STARTING")
# Variables that Docker's program goes by itself.
_DOCKERS = ("DOCKER_", "BUILDKIT_")


class NoEngineError(ModelyardError):
    """There is no Docker Engine, or it is on another machine."""

    code = "no_docker_engine"
    title = "No Docker Engine"


class EndedError(ModelyardError):
    """The container or its model's setup came to nothing; what it printed has been shown."""

    code = "container_failed"
    title = "The container failed"


class Shown(NamedTuple):
    """A folder of this machine, and where a container sees it."""

    folder: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A container that somebody wants. `image`: as the engine knows it; `command`: else the image's own.

    `gpus`: as `docker run` takes it; `insists`: somebody asked for them, so there is no going on without. `publish`:
    the address and port of this machine that its port gets, "" for any. `small`: `build` made it, so that nothing in it
    looks after orphaned processes.
    """

    image: str
    command: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    folders: Sequence[Shown] = ()
    gpus: str | None = None
    insists: bool = False
    publish: str = "127.0.0.1:"
    reaches_host: bool = False
    small: bool = False

    def flags(self, environ: Mapping[str, str]) -> list[str]:
        """What `docker run` is told, but for its port and its name."""
        told = [f"--shm-size={_SHARED_MEMORY}", "--pull=never"]
        if self.gpus is not None:
            told += ["--gpus", self.gpus]
        if self.reaches_host:
            told += ["--add-host", _HOST_NAME]
        if self.small:
            told.append("--init")
        for shown in self.folders:
            parts = ["type=bind", _quoted("source", shown.folder), _quoted("target", shown.target)]
            told += ["--mount", ",".join([*parts, *([] if shown.writable else ["readonly"])])]
        lent = self.environment(environ)
        for name, value in self.variables.items():
            # Whoever lists processes sees names alone, wherever that can be.
            told += ["--env", name if lent.get(name) == value else f"{name}={value}"]
        return told

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What Docker's program gets, with the values of those variables that it is told the names of."""
        lent = {name: value for name, value in self.variables.items() if not name.startswith(_DOCKERS)}
        return {**lent, **environ}


def _quoted(key: str, path: object) -> str:
    """A part of `--mount`, which is read as a line of CSV."""
    text = str(path).replace('"', '""')
    return f'"{key}={text}"'


def engine(what: str, environ: Mapping[str, str]) -> docker.Engine:
    """The engine of this machine. Raises NoEngineError."""
    found = docker.Engine(environ)
    if found.version() is None:
        place = docker.place(environ)
        hint = "install and start one (https://docs.docker.com/engine/install), or set DOCKER_HOST"
        if not docker.has_program(environ):
            hint = "install the program `docker` (https://docs.docker.com/engine/install), or name its folder in PATH"
        elif place != "here":
            hint = "start it; or unset DOCKER_HOST (`docker context use default`), and this machine's own is asked"
        raise NoEngineError(f"{what} needs a Docker Engine, and none answers {place}", hint=hint)
    if machine := docker.other_machine(environ):
        raise NoEngineError(
            f"{what} needs a Docker Engine on this machine, and the one that is asked is on {machine}",
            hint="a container there sees no folder of this machine, and is reached by no port of it; unset DOCKER_HOST,"
            " or `docker context use default`",
        )
    return found


def gpus(given: str | None, wanted: bool) -> tuple[str | None, bool]:
    """`--gpus` as Docker's program reads it, and whether somebody insists; all of them for a model that wants some."""
    if given is None:
        return ("all" if wanted else None), False
    plain = given.strip("\"'")
    return (f'"{plain}"' if "," in plain else plain), True


def with_gpus_here(plan: Plan, engine: docker.Engine, said: Talk) -> Plan:
    """The same without GPUs that nobody insists on and the engine cannot give."""
    if plan.gpus is None or plan.insists:
        return plan
    try:
        engine.ask("run", "--rm", "--pull=never", "--gpus", plan.gpus, "--entrypoint=true", plan.image)
    except docker.EngineError as error:
        return _without_gpus(plan, error, said) or plan
    return plan


def _without_gpus(plan: Plan, error: docker.EngineError, said: Talk) -> Plan | None:
    """The same without GPUs, where they are all that an engine lacks and nobody insists on them."""
    if plan.gpus is None or plan.insists or not any(words in error.detail for words in _NO_GPU):
        return None
    said.warn(_WITHOUT_GPU)
    return replace(plan, gpus=None)


class Container:
    """One that was started; `ended` is set once it is no more, then `code` is its exit status."""

    def __init__(self, name: str, engine: docker.Engine, environ: Mapping[str, str]) -> None:
        self.name = name
        self.ended = threading.Event()
        self.code = 0
        self._engine = engine
        self._environ = dict(environ)
        self._address = ""
        # Not ours by Ctrl-C: they end with the container, after its last words.
        self._logs = self._program("logs", "--follow", name, stdout=sys.stderr)
        self._waiting = self._program("wait", name, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._wait, daemon=True).start()

    @property
    def address(self) -> str:
        """Where its HTTP API is. Raises EndedError, EngineError."""
        if not self._address:
            try:
                told = self._engine.ask("port", self.name, f"{PORT}/tcp").split()
            except docker.EngineError:
                if self.ended.wait(1):
                    raise self.death() from None
                raise
            host, _, port = told[0].rpartition(":")
            self._address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{port}"  # noqa: S104
        return self._address

    def death(self) -> EndedError:
        """The error for an end that nobody wanted."""
        if self._killed_for_memory():
            return EndedError("Container exited unexpectedly: it used more memory than there is (exit code 137)")
        hint = None if self.code else labels.NO_SERVER
        return EndedError(f"Container exited unexpectedly (exit code {self.code})", hint=hint)

    def health(self) -> str:
        """What the model's server says of itself; `STARTING` while nobody answers."""
        try:
            with wire.send(self.address, "GET", "/health-check", headers={}, timeout_seconds=_ASK_SECONDS) as reply:
                return str(json.loads(reply.read())["status"])
        except (OSError, wire.WireError, ValueError, LookupError, TypeError):
            return _BEGINNING[1]

    def ready(self, seconds: float | None) -> None:
        """Wait until the model's setup is over. Raises EndedError."""
        until = None if seconds is None else time.monotonic() + seconds
        while (state := self.health()) != "READY":
            if self.ended.is_set():
                raise self.death()
            if state == "SETUP_FAILED":
                raise EndedError("Model setup failed", hint="what it printed is above")
            if state not in _BEGINNING:
                raise EndedError(f"Container healthcheck returned unexpected status: {state}")
            if until is not None and time.monotonic() > until:
                hint = "--setup-timeout SECONDS gives it longer"
                raise EndedError(f"Timed out: the model's setup took longer than {seconds:g} seconds", hint=hint)
            self.ended.wait(_LOOK_SECONDS)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """A request that takes as long as it takes; status and body. Raises EndedError."""
        data = None if body is None else json.dumps(body).encode()
        answers: list[tuple[int, bytes]] = []
        failures: list[Exception] = []

        def send() -> None:
            headers = {"Content-Type": "application/json"}
            try:
                with wire.send(self.address, method, path, data=data, headers=headers, timeout_seconds=None) as reply:
                    answers.append((reply.status, reply.read()))
            except (OSError, wire.WireError, ModelyardError) as error:
                failures.append(error)

        # A container that is no more may leave a request without an answer for ever.
        asking = threading.Thread(target=send, daemon=True)
        asking.start()
        while asking.is_alive() and not self.ended.is_set():
            asking.join(_LOOK_SECONDS)
        asking.join(_LOOK_SECONDS)
        if answers:
            return answers[0]
        if self.ended.wait(1):
            raise self.death()
        raise EndedError(f"the model's server did not answer {method} {path}: {failures[0] if failures else ''}")

    def end(self, grace_seconds: int = 0) -> None:
        """Have it ended, after at most so many seconds for what it does, and its last words shown."""
        with contextlib.suppress(docker.EngineError):
            if not self.ended.is_set() and grace_seconds:
                self._engine.ask("stop", f"--time={grace_seconds}", self.name, seconds=grace_seconds + _START_SECONDS)
            elif not self.ended.is_set():
                self._engine.ask("kill", self.name)
        try:
            self._logs.wait(_LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            self._logs.kill()
            self._logs.wait()
        self.ended.wait(_LAST_WORDS_SECONDS)

    def _wait(self) -> None:
        said, _ = self._waiting.communicate()
        self.code = int(said.strip() or 0)
        self.ended.set()

    def _killed_for_memory(self) -> bool:
        try:
            return self._engine.ask("inspect", "--format", "{{.State.OOMKilled}}", self.name).strip() == "true"
        except docker.EngineError:
            return False

    def _program(self, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["docker", *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **streams,
        )


@contextlib.contextmanager
def running(
    plan: Plan, engine: docker.Engine, environ: Mapping[str, str], said: Talk, *, grace_seconds: int = 0
) -> Iterator[Container]:
    """The container, until this is left by whatever way; SIGTERM is as Ctrl-C. Raises EngineError."""
    name = f"yard-{secrets.token_hex(6)}"
    with _terminated_like_interrupted(), _gone_afterwards(name, environ) as settled:
        try:
            _start(name, plan, engine, environ, said)
        except docker.EngineError:
            settled.set()
            raise
        settled.set()
        container = Container(name, engine, environ)
        try:
            yield container
        finally:
            try:
                container.end(grace_seconds)
            except KeyboardInterrupt:  # whoever asks twice will not wait
                container.end()
                raise


@contextlib.contextmanager
def _gone_afterwards(name: str, environ: Mapping[str, str]) -> Iterator[threading.Event]:
    """Around the life of a container: it is no more once this is left, or once this process was killed.

    Set what is given once the engine has made it or never will: only then is it waited for.
    """
    settled = threading.Event()
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, name],
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield settled
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it goes on by itself
            if settled.is_set():
                keeper.communicate(_ITS_FATE_IS_KNOWN, timeout=_GONE_SECONDS)
            elif keeper.stdin is not None:
                keeper.stdin.close()


def _start(name: str, plan: Plan, engine: docker.Engine, environ: Mapping[str, str], said: Talk) -> None:
    command = ["run", "--detach", "--name", name, "--publish", f"{plan.publish}:{PORT}", *plan.flags(environ)]
    asked = docker.Engine(plan.environment(environ))
    try:
        asked.ask(*command, plan.image, *plan.command, seconds=_START_SECONDS)
    except docker.EngineError as error:
        less = _without_gpus(plan, error, said)
        if less is None:
            raise
        with contextlib.suppress(docker.EngineError):  # it may not even have been made
            engine.ask("rm", "--force", name)
        _start(name, less, engine, environ, said)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
