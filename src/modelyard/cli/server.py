"""`yard up`: start a yard; the only command that runs the server in its own process."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard import settings
from modelyard.cli.examples import examples
from modelyard.cli.options import with_settings
from modelyard.cli.talk import Talk


@click.command(
    "up",
    short_help="Start a yard on this machine",
    epilog=examples(
        "yard up",
        "yard up --port 8080 --data ./yard",
        "yard up --host 0.0.0.0 --public-url https://yard.example.org",
        "yard up --database postgresql://yard@localhost/yard",
    ),
)
@with_settings
@click.pass_obj
def command(talk: Talk, /, **flags: str | None) -> int:
    """Start a yard: its API, its registry and the machine that runs the models.

    Everything is kept in one folder. The first start makes the owner's account and prints its token once. Ctrl-C
    stops it: running predictions may finish, waiting ones stay; a second Ctrl-C stops at once.

    Every option can also be set in the environment (MODELYARD_PORT) or in yard.toml; see `yard config`.
    """
    # Only a yard needs the server's libraries; checking the settings first keeps a wrong flag quick.
    found, _ = settings.load(flags, settings.environment(), Path.cwd())
    from modelyard.serving import serve

    return serve(found, talk.say)
