"""`yard config`: every setting and the login, each value and where it comes from."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import client, table
from modelyard.cli.examples import examples
from modelyard.cli.options import with_settings
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json

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
    out = talk.on(sys.stdout)
    rows = {name: ("" if value is None else str(value), origin) for name, (value, origin) in {**shown, **asked}.items()}
    columns = [Column("SETTING"), Column("VALUE"), Column("FROM")]
    lines = table.lines(columns, [Row([name, *row]) for name, row in rows.items()], width=None, paint=out.paint)
    last = len(lines) - len(asked)
    lines[last:last] = ["", out.paint("The yard that commands talk to:", "quiet")]
    result("\n".join(lines))


def _shown(name: str, value: object) -> object:
    if value is None:
        return None
    if settings.is_secret(name):
        return _HIDDEN
    if name == "database":
        return settings.without_password(str(value))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, int | float | str) else str(value)
