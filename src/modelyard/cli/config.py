"""`yard config`: every setting, its value and where it comes from."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import talk
from modelyard.cli.examples import examples
from modelyard.cli.options import with_settings

_HIDDEN = "(set, not shown)"


@click.command(
    "config",
    short_help="Show every setting and where it comes from",
    epilog=examples("yard config", "yard config --json", "MODELYARD_PORT=8080 yard config"),
)
@with_settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool, **flags: str | None) -> None:
    """Show every setting of a yard started here, its value and where it comes from.

    Flags win over the environment, the environment over yard.toml in this folder, that one over yard.toml in the
    data folder. Give it the flags that you would give to `yard up`.
    """
    found, origins = settings.load(flags, settings.environment(), Path.cwd())
    shown = {name: _shown(name, getattr(found, name)) for name in settings.names()}
    if as_json:
        talk.result_json({name: {"value": value, "from": origins[name]} for name, value in shown.items()})
        return
    texts = {name: "" if value is None else str(value) for name, value in shown.items()}
    columns = max(map(len, texts)), max(map(len, texts.values()))
    for name, text in texts.items():
        talk.result(f"{name:<{columns[0]}}  {text:<{columns[1]}}  {origins[name]}")


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
