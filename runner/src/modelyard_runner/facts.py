"""What a server can say of itself: its routes, its state, the model's schema and how to check inputs against it."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from modelyard_runner import replies
from modelyard_runner.checks import Checker
from modelyard_runner.crew import Crew
from modelyard_runner.supervisor import NotReady, Supervisor
from modelyard_runner.versions import COG_VERSION

Noun = Literal["prediction", "training"]

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a request is for. No verb: nothing is here, or with `allow` nothing for this method."""

    verb: str = ""
    noun: Noun = "prediction"
    id: str = ""
    allow: bytes = b""


NOWHERE = Route()
_FIXED: dict[str, tuple[tuple[str, ...], Route]] = {
    "/predictions": (("POST",), Route(verb="create")),
    "/trainings": (("POST",), Route(verb="create", noun="training")),
    "/": (("GET", "HEAD"), Route(verb="index")),
    "/health-check": (("GET", "HEAD"), Route(verb="health")),
    "/openapi.json": (("GET", "HEAD"), Route(verb="schema")),
    "/shutdown": (("POST",), Route(verb="shutdown")),
}


def find_route(scope: Mapping[str, Any]) -> Route:
    """The route of an ASGI request."""
    method: str = scope["method"]
    fixed = _FIXED.get(scope["path"])
    if fixed is not None:
        return fixed[1] if method in fixed[0] else Route(allow=",".join(fixed[0]).encode())
    noun: Noun
    first, *rest = _segments(scope)
    if first == "predictions":
        noun = "prediction"
    elif first == "trainings":
        noun = "training"
    else:
        return NOWHERE
    if len(rest) == 1 and rest[0]:
        return Route(verb="put", noun=noun, id=rest[0]) if method == "PUT" else Route(allow=b"PUT")
    if len(rest) == 2 and rest[0] and rest[1] == "cancel":
        return Route(verb="cancel", noun=noun, id=rest[0]) if method == "POST" else Route(allow=b"POST")
    return NOWHERE


def _segments(scope: Mapping[str, Any]) -> list[str]:
    """The parts of a path, each decoded by itself: an escaped slash is part of a name."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return [unquote(part) for part in raw.decode("latin-1").partition("?")[0].removeprefix("/").split("/")]


class Facts:
    """Answers about a server and its model. `mode`: `predict` or `train`; `schema` replaces what the worker says.

    `python`: the version of the model's Python, for as long as no worker has told it; "" where nobody knows.
    """

    def __init__(
        self, supervisor: Supervisor | Crew, *, mode: str, version: str, python: str, schema: bytes | None
    ) -> None:
        self._supervisor = supervisor
        self._mode = mode
        self._given = _in_order(schema) if schema else b""
        self._told: tuple[bytes, bytes] = (b"", b"")
        self._version = {
            "coglet": COG_VERSION,
            "modelyard": version,
            "python_sdk": COG_VERSION,
        }
        self._python = python or platform.python_version()
        self._generation = 0
        self._checkers: dict[str, Checker] = {}

    @property
    def schema(self) -> bytes:
        """The OpenAPI document as compact JSON, keys in order; b"" before setup is done and after it failed."""
        if self._supervisor.state not in ("READY", "BUSY"):
            return b""
        if self._given:
            return self._given
        told = self._supervisor.schema
        if told is not self._told[0]:
            self._told = told, _in_order(told)
        return self._told[1]

    def kind(self, noun: Noun) -> str:
        """The protocol's word for what is to be run."""
        return "train" if noun == "training" or self._mode == "train" else "predict"

    def checker(self, noun: Noun) -> Checker:
        """How to check inputs."""
        if self._generation != self._supervisor.generation:
            self._generation = self._supervisor.generation
            self._checkers = {}
        found = self._checkers.get(noun)
        if found is None:
            component = "TrainingInput" if self.kind(noun) == "train" else "Input"
            found = self._checkers[noun] = Checker(msgspec.json.decode(self.schema or b"{}"), component)
        return found

    def index(self) -> bytes:
        """What `GET /` says."""
        addresses = {
            "cog_version": COG_VERSION,
            "healthcheck_url": "/health-check",
            "modelyard_version": self._version["modelyard"],
            "openapi_url": "/openapi.json",
            "shutdown_url": "/shutdown",
        }
        nouns = ["prediction", *(["training"] if b'"TrainingInput"' in self.schema else [])]
        for noun in nouns:
            addresses[f"{noun}s_url"] = f"/{noun}s"
            addresses[f"{noun}s_idempotent_url"] = f"/{noun}s/{{{noun}_id}}"
            addresses[f"{noun}s_cancel_url"] = f"/{noun}s/{{{noun}_id}}/cancel"
        return _encode(addresses)

    async def health(self) -> bytes:
        """What `GET /health-check` says; asks the model's own check where it has one."""
        supervisor = self._supervisor
        fault = None
        try:
            fault = await supervisor.healthcheck()
        except NotReady:
            pass
        state = supervisor.state
        version = {**self._version, "python": supervisor.python or self._python}
        answer: dict[str, Any] = {"setup": self._setup(), "status": state, "version": version}
        if fault is not None and state in ("READY", "BUSY"):
            answer["status"] = "UNHEALTHY"
            answer["user_healthcheck_error"] = fault
        return _encode(answer)

    def _setup(self) -> dict[str, str]:
        supervisor = self._supervisor
        state = supervisor.state
        setup = {"started_at": replies.time_text(int(supervisor.setup_started_at * 1e6)).decode(), "status": "starting"}
        if state in ("UNKNOWN", "STARTING"):
            return setup
        setup["status"] = "failed" if state == "SETUP_FAILED" else "succeeded"
        setup["completed_at"] = replies.time_text(int(supervisor.setup_completed_at * 1e6)).decode()
        setup["logs"] = supervisor.setup_logs
        return setup


def _in_order(schema: bytes) -> bytes:
    try:
        document = msgspec.json.decode(schema)
        return _encode(document) if isinstance(document, dict) else b""
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("the schema is ignored, as it is no JSON: %s", error)
        return b""
