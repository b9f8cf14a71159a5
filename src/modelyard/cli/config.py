"""`yard config`: every setting and the login, each value and where it comes from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import client
from modelyard.cli.examples import examples
from modelyard.cli.options import with_settings
from modelyard.cli.talk import Talk, result, result_json

# Most values are no longer.
_USUAL = 24
_HIDDEN = "(set, not shown)"


@click.command(
    "config",
    short_help="Show every setting and where it comes from",
    epilog=examples("yard config", "yard config --json", "MODELYARD_PORT=8080 yard config"),
)
@with_settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(talk: Talk, /, as_json: bool, **flags: str | None) -> None:
    """Show every setting of a yard started here, its value and where it comes from.

    Below stands which yard commands such as `yard ps` talk to, and who told them: `yard login` or a variable.

    Flags win over the environment, the environment over yard.toml in this folder, that one over yard.toml in the
    data folder. Give it the flags that you would give to `yard up`.
    """
    environ = settings.environment()
    found, origins = settings.load(flags, environ, Path.cwd())
    shown = {name: (_shown(name, getattr(found, name)), origins[name]) for name in settings.names()}
    login = client.find_login(environ)
    asked = {
        "url": (login.url, login.url_from),
        "token": (None if login.token is None else _HIDDEN, login.token_from or "nobody logged in"),
    }
    if as_json:
        result_json({name: {"value": value, "from": origin} for name, (value, origin) in {**shown, **asked}.items()})
        return
    lines = _lines({**shown, **asked})
    title = talk.on(sys.stdout).paint("The yard that commands talk to:", "quiet")
    result("\n".join([*lines[: len(shown)], "", title, *lines[len(shown) :]]))


def _lines(shown: Mapping[str, tuple[object, str]]) -> list[str]:
    """Name, value and place; a long value pushes its own place aside and nobody else's."""
    texts = {name: "" if value is None else str(value) for name, (value, _) in shown.items()}
    first = max(map(len, texts))
    second = max((len(text) for text in texts.values() if len(text) <= _USUAL), default=0)
    return [f"{name:<{first}}  {text:<{second}}  {shown[name][1]}" for name, text in texts.items()]


def _shown(name: str, value: object) -> object:
    if value is None:
        return None
    if settings.is_secret(name):
        return _HIDDEN
    if name == "database":
        return settings.without_password(str(value))
    if type(value) is tuple:  # a duration and a size are tuples, too, with a text of their own
        return ",".join(map(str, value))
    return value if isinstance(value, int | float | str) else str(value)
