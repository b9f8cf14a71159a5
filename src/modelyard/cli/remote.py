"""`yard run OWNER/MODEL`: run a model of a yard, with the inputs and outputs that a local run has."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.cli import client, feeds, inputs, models, naming, outputs, uploads, versioned, wire
from modelyard.cli import talk as results
from modelyard.cli.client import Login
from modelyard.cli.outputs import Outcome, OutputFile
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, NotFound, Unavailable, UsageError

NAME = re.compile(r"(?P<owner>[a-z0-9][\w.-]*)/(?P<name>[\w.-]+)(?::(?P<version>[\w.-]+))?", re.IGNORECASE)
INTERRUPTED = 130
_AGAIN_SECONDS = 1.0
# A stream that is quiet for longer has lost its yard: it says something every ten seconds.
_QUIET_SECONDS = 30.0
_ENDED = ("succeeded", "failed", "canceled", "aborted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for. `json_text`: None without `--json`, empty where it brings no input."""

    model: str
    pairs: Sequence[str]
    json_text: str | None
    output: str | None
    detach: bool
    cwd: Path


def run(wish: Wish, environ: Mapping[str, str], talk: Talk) -> int:
    """Run it to its end; the exit status. Raises what the client, the inputs and the outputs raise."""
    login = client.required_login(environ)
    try:
        version = _version(login, wish.model)
    except NotFound as error:
        error.hint = error.hint or f"{naming.DOCKER}{wish.model} is an image of that name, here or in Docker's registry"
        raise
    given = inputs.parse(version["openapi_schema"], wish.pairs, wish.json_text or None, wish.cwd)
    outputs.check_target(wish.output, wish.cwd)
    values = uploads.in_place(login, given, talk)
    body = {"version": f"{wish.model.partition(':')[0]}:{version['id']}", "input": values}
    made = client.call(login, "POST", "/v1/predictions", body)
    if wish.detach:
        if wish.json_text is None:
            results.result(made["id"])
        else:
            results.result_json(made)
        return 0
    talk.say(f"Prediction {made['id']} at {made['urls']['web']}")
    try:
        return _to_the_end(login, made, version["openapi_schema"], wish, talk)
    except KeyboardInterrupt:
        client.call(login, "POST", f"/v1/predictions/{made['id']}/cancel")
        talk.say(f"\nCanceled {made['id']}")
        return INTERRUPTED


def _version(login: Login, spelling: str) -> dict[str, Any]:
    """The version that runs. Raises NotFound, UsageError."""
    named = NAME.fullmatch(spelling)
    if named is None:
        raise UsageError(f"{spelling!r} is no model", hint="OWNER/NAME, or OWNER/NAME:VERSION")
    found: dict[str, Any]
    if named["version"]:
        return versioned.find(login, spelling)[1]
    found = client.call(login, "GET", models.path_of(spelling))["latest_version"]
    if found is None:
        raise NotFound(f"{spelling} has no version yet", hint=f"yard push {spelling}")
    return found


def _to_the_end(login: Login, made: dict[str, Any], schema: dict[str, Any], wish: Wish, talk: Talk) -> int:
    output = schema["components"]["schemas"].get("Output") or {}
    together = output.get("x-cog-array-display") == "concatenate"
    # Pieces as they come are for people who look; a program gets the whole.
    printing = together and wish.json_text is None and wish.output is None and sys.stdout.isatty()
    Listener(login, made, talk, printing=printing).listen()
    ended = _outcome(login, made["id"])
    if printing and ended["status"] == "succeeded":
        sys.stdout.write("\n")
        return 0
    if together and isinstance(ended.get("output"), list) and wish.json_text is None:
        ended["output"] = "".join(map(str, ended["output"]))
    with tempfile.TemporaryDirectory() as folder:
        outcome = Outcome(
            status=ended["status"],
            output=ended.get("output"),
            error=ended.get("error") or "",
            metrics=ended.get("metrics") or {},
            files=_download(login, made["id"], ended.get("output"), Path(folder)),
        )
        return outputs.show(outcome, wish.output, talk, as_json=wish.json_text is not None, cwd=wish.cwd)


def _outcome(login: Login, prediction_id: str) -> dict[str, Any]:
    """Its document once it has ended."""
    while True:
        found: dict[str, Any] = client.call(login, "GET", f"/v1/predictions/{prediction_id}")
        if found["status"] in _ENDED:
            return found
        time.sleep(_AGAIN_SECONDS)


class Listener:
    """Says what a prediction waits for and prints, until it has ended; goes on when the yard was away."""

    def __init__(self, login: Login, made: dict[str, Any], talk: Talk, *, printing: bool) -> None:
        self._login = login
        # Its host is what the yard calls itself; we know it by the login's. A stream of files has another name.
        token = urlsplit(made["urls"]["stream"]).path.rpartition("/")[2]
        self._path = f"/v1/streams/{token}?state=1"
        self._talk = talk
        self._printing = printing
        self._after = ""
        self._phase = ""

    def listen(self) -> None:
        """Until `done`. Raises what the client raises, but for a yard that is away."""
        warned = False
        while True:
            try:
                if self._hear():
                    return
                warned = False
            except (Unavailable, OSError, wire.WireError) as error:
                if not warned:
                    self._talk.warn(f"{error.detail if isinstance(error, ModelyardError) else error}; trying again")
                warned = True
                time.sleep(_AGAIN_SECONDS)

    def _hear(self) -> bool:
        reply = client.open_reply(
            self._login, self._path, accept="text/event-stream", after=self._after, timeout_seconds=_QUIET_SECONDS
        )
        with reply:
            if reply.status == 204:
                return True
            for name, event_id, data in feeds.events(reply.lines()):
                self._after = event_id or self._after
                if name == "done":
                    return True
                self._tell(name, data)
        return False

    def _tell(self, name: str, data: str) -> None:
        if name == "logs":
            self._talk.piece(data)
        elif name == "output" and self._printing:
            sys.stdout.write(data)
            sys.stdout.flush()
        elif name == "state":
            state = json.loads(data)
            if state["phase"] != self._phase:
                self._phase = state["phase"]
                self._talk.say(self._talk.paint(state["words"], "quiet"))


def _download(login: Login, prediction_id: str, output: Any, folder: Path) -> dict[str, OutputFile]:
    """The files that an output names, by their addresses."""
    found: dict[str, OutputFile] = {}
    for address in _addresses(output, f"/outputs/{prediction_id}/"):
        path = "/outputs/" + urlsplit(address).path.partition("/outputs/")[2]
        target = folder / str(len(found))
        reply = client.open_reply(login, path, accept="*/*", timeout_seconds=_QUIET_SECONDS)
        try:
            with reply, target.open("wb") as file:
                for piece in reply.pieces():
                    file.write(piece)
        except (OSError, wire.WireError) as error:
            raise client.unreachable(login.url, error) from None
        kind = reply.headers.get("content-type", "application/octet-stream").partition(";")[0]
        found[address] = OutputFile(path=target, name=path.rpartition("/")[2], content_type=kind)
    return found


def _addresses(value: Any, mark: str) -> list[str]:
    if isinstance(value, str):
        return [value] if mark in value and "://" in value[:10] else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(address for one in inner for address in _addresses(one, mark)))
