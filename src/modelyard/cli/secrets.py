"""`yard secrets`: set, list, delete. A value is read from stdin or a file, never from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelyard import settings
from modelyard.cli import client, models, quick, table, watch, words
from modelyard.cli.confirm import confirm
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import UsageError

_MOST = 10_000
_COLUMNS = (Column("NAME"), Column("SET", right=True))


def list_(talk: Talk, model: str, as_json: bool) -> None:
    """Show the names of those of a model."""
    login = client.required_login(settings.environment())
    path = models.path_of(model)

    def find() -> list[dict[str, Any]]:
        return list(client.pages(login, f"{path}/secrets", _MOST))

    def draw(secrets: list[dict[str, Any]], view: watch.View) -> list[str]:
        if not secrets:
            return [f"{model} has no secrets. `yard secrets set {model} NAME` sets one."]
        at = words.now()
        rows = [Row([one["name"], words.age(one["updated_at"], at)]) for one in secrets]
        return table.lines(_COLUMNS, rows, width=view.width, paint=view.paint)

    watch.show(talk, find, draw, as_json=as_json, again=False)


def set_(talk: Talk, model: str, name: str, file: str | None, as_json: bool) -> None:
    """Set or replace one."""
    login = client.required_login(settings.environment())
    path = _path(model, name)
    value = _value(talk, name, file)
    kept = client.call(login, "PUT", path, {"value": value})
    if as_json:
        result_json({"model": model, **kept})
    else:
        result(f"{name} of {model} is set; what starts from now on has it")


def delete(talk: Talk, model: str, name: str, yes: bool, as_json: bool) -> None:
    """Take one away."""
    login = client.required_login(settings.environment())
    path = _path(model, name)
    confirm(talk, f"Delete secret {name} of {model}?", yes=yes)
    client.call(login, "DELETE", path)
    if as_json:
        result_json({"model": model, "name": name, "deleted": True})
    else:
        result(f"{name} of {model} is deleted")


def _path(model: str, name: str) -> str:
    path = models.path_of(model)
    if "=" in name:
        # What stands behind the sign is likely the value: it is not said again.
        raise UsageError(
            "NAME holds '=': a value does not belong on the command line, where others on this machine can read it",
            hint=f"yard secrets set {model} NAME, and the value on stdin",
        )
    return f"{path}/secrets/{quote(name, safe='')}"


def _value(talk: Talk, name: str, file: str | None) -> str:
    raw = _ask(talk, name) if file is None and sys.stdin.isatty() else _read(file)
    if raw.endswith("\n"):
        raw = raw[:-2] if raw.endswith("\r\n") else raw[:-1]
    if not raw:
        where = "stdin" if file is None or file == "-" else file
        raise UsageError(f"{where} holds no value", hint=f"printf %s VALUE | yard secrets set OWNER/MODEL {name}")
    return raw


def _read(file: str | None) -> str:
    try:
        raw = sys.stdin.buffer.read() if file is None or file == "-" else Path(file).read_bytes()
        return raw.decode()
    except UnicodeDecodeError:
        raise UsageError("the value is not text in UTF-8", hint="encode bytes first: base64 < FILE") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None


def _ask(talk: Talk, name: str) -> str:
    import getpass

    try:
        return getpass.getpass(f"Value of {name} (it is not shown): ")
    except EOFError:
        talk.say("")
        return ""


_MODEL = quick.Argument("model", "OWNER/NAME", completes="models")
_NAME = quick.Argument("name", "NAME")

COMMAND = quick.Command(
    name="secrets",
    about="Set, list and delete secrets of a model",
    text="Secrets of a model: values that its workers, and no others, find in their environment. They are kept"
    " encrypted and never shown again. With a model alone: the list.",
    examples=(
        "yard secrets set yard/hello API_KEY",
        "yard secrets set yard/hello API_KEY < key.txt",
        "yard secrets yard/hello",
        "yard secrets delete yard/hello API_KEY",
    ),
    otherwise="list",
    commands={
        "list": quick.Command(
            name="list",
            about="List the names of those of a model",
            text="List the secrets of a model of yours: their names and when they were set, never their values.",
            examples=("yard secrets yard/hello", "yard secrets yard/hello --json | jq -r '.[].name'"),
            run=list_,
            arguments=(_MODEL,),
            options=(quick.JSON,),
        ),
        "set": quick.Command(
            name="set",
            about="Set or replace one",
            text="Set a secret of a model of yours. The value comes from stdin or a file; on a terminal it is asked for"
            " and not shown. One line end at its end is dropped. Instances that run are replaced when they are done.",
            examples=(
                "yard secrets set yard/hello API_KEY",
                "yard secrets set yard/hello API_KEY < key.txt",
                "yard secrets set yard/hello SERVICE_ACCOUNT --file account.json",
            ),
            run=set_,
            arguments=(_MODEL, _NAME),
            options=(
                quick.Option(("--file",), "file", "Read the value from this file.", kind="text", metavar="FILE"),
                quick.JSON,
            ),
        ),
        "delete": quick.Command(
            name="delete",
            about="Delete one",
            text="Delete a secret of a model of yours. What starts from now on does not have it.",
            examples=("yard secrets delete yard/hello API_KEY", "yard secrets delete yard/hello API_KEY --yes"),
            run=delete,
            arguments=(_MODEL, _NAME),
            options=(quick.YES, quick.JSON),
        ),
    },
)
