"""`yard down`: stop the yard that runs on a data folder of this machine, and wait until it has ended."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from modelyard import settings
from modelyard.cli import client, quick, words
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import Forbidden, ModelyardError, NotFound

# Its name in the data folder; a yard that runs has it locked, and has written down who it is.
_LOCK_FILE = "yard.lock"
_LOOK_SECONDS = 0.1
_SAY_SECONDS = 5.0
_NAME_IT = "name its folder with --data; a yard on another machine is stopped there"


class Running(NamedTuple):
    """A yard of this machine. `url`: what it answers at; None while it starts."""

    data: Path
    pid: int
    url: str | None


def run(talk: Talk, data: str | None, now: bool, as_json: bool) -> None:
    """Stop it."""
    environ = settings.environment()
    running = _find(data, environ)
    began = time.monotonic()
    _signal(running, twice=now)
    _wait(talk, running, client.find_login(environ))
    seconds = round(time.monotonic() - began, 3)
    if as_json:
        result_json({"data": str(running.data), "pid": running.pid, "url": running.url, "seconds": seconds})
    else:
        result(f"The yard on {running.data} has stopped.")


def _find(data: str | None, environ: dict[str, str]) -> Running:
    """The yard of the folder that is named or set; else the one that one is logged in to, if it is here.

    Raises NotFound.
    """
    found, _ = settings.load({"data": data}, environ, Path.cwd())
    running = _on(found.data)
    if running is None and data is None:
        elsewhere = _folder_of_login(environ, found.data)
        running = None if elsewhere is None or elsewhere == found.data else _on(elsewhere)
    if running is None:
        raise NotFound(f"no yard of this machine runs on the data folder {found.data}", hint=_NAME_IT)
    return running


def _folder_of_login(environ: dict[str, str], tried: Path) -> Path | None:
    """Where the yard that one is logged in to has its data. Raises NotFound where that cannot be asked."""
    login = client.find_login(environ)
    try:
        answer = client.call(login, "GET", "/v1/yard", timeout_seconds=5.0)
    except ModelyardError as error:
        if login.url_from == "default":
            # Nobody named a yard, so there is none to speak of.
            return None
        raise NotFound(
            f"no yard of this machine runs on the data folder {tried}, and the yard at {login.url} could not be asked"
            f" for its own: {error.detail}",
            hint=f"{error.hint}; or {_NAME_IT}" if error.hint else _NAME_IT,
        ) from None
    folder = answer.get("data") if isinstance(answer, dict) else None
    return Path(folder) if folder else None


def _on(data: Path) -> Running | None:
    """Who holds a data folder; None when nobody does. Raises Forbidden where it cannot be looked at."""
    try:
        with (data / _LOCK_FILE).open("r") as lock:
            for _ in range(20):
                if _is_free(lock.fileno()):
                    return None
                facts = _facts(lock.read())
                if facts.get("pid"):
                    return Running(data, int(facts["pid"]), facts.get("url"))
                # It has just been locked, and is being written.
                lock.seek(0)
                time.sleep(_LOOK_SECONDS)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Forbidden(f"the data folder {data} cannot be looked at: {error.strerror}") from None
    raise ModelyardError(f"a yard runs on {data} and does not say which process it is; stop it where it was started")


def _is_free(descriptor: int) -> bool:
    try:
        # For a moment, and with others: a yard that starts now is told that its folder is taken only by another yard.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _facts(text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _signal(running: Running, *, twice: bool) -> None:
    """As Ctrl-C at its terminal does. Raises Forbidden."""
    try:
        os.kill(running.pid, signal.SIGINT)
        if twice:
            time.sleep(_LOOK_SECONDS)
            os.kill(running.pid, signal.SIGINT)
    except ProcessLookupError:
        return
    except PermissionError:
        raise Forbidden(f"process {running.pid}, the yard on {running.data}, belongs to another user") from None


def _wait(talk: Talk, running: Running, login: client.Login) -> None:
    """Until its folder is free, saying now and then what it waits for."""
    said = time.monotonic() - _SAY_SECONDS + 1.0
    while (still := _on(running.data)) is not None and still.pid == running.pid:
        if time.monotonic() - said >= _SAY_SECONDS:
            said = time.monotonic()
            talk.say(_awaited(running, login))
        time.sleep(_LOOK_SECONDS)


def _awaited(running: Running, login: client.Login) -> str:
    """What a yard that stops still has to do, as far as it tells."""
    otherwise = f"Waiting for process {running.pid} to end."
    if running.url is None or login.token is None:
        return otherwise
    try:
        # The token goes to the yard that it was stored for, whatever that is called.
        if login.url != running.url:
            return otherwise
        instances = client.call(login, "GET", "/v1/instances", timeout_seconds=2.0)["results"]
    except ModelyardError:
        return otherwise
    ids = [prediction for instance in instances for prediction in instance["running"]]
    if not ids:
        return otherwise
    named = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
    return f"Waiting for {words.counted(len(ids), 'prediction')}: {named} (yard down --now stops at once)"


COMMAND = quick.Command(
    name="down",
    about="Stop the yard of this machine",
    text="""Stop the yard that runs on the data folder of this machine, and wait until it has ended.

    Nothing new is started, what runs may finish within `drain_seconds`, what waits stays in the queue for the next
    `yard up`. The folder is that of --data, else the one of the settings, else that of the yard you are logged in to.
    """,
    examples=("yard down", "yard down --data ./yard", "yard down --now"),
    run=run,
    options=(
        quick.Option(("--data",), "data", "The data folder of the yard.", "text", "DIR"),
        quick.Option(("--now",), "now", "Do not wait for what runs: it goes on in its worker, to be taken up again."),
        quick.JSON,
    ),
)
