"""`yard weights`: the managed weights of the project in the current folder."""

from __future__ import annotations

import click

from modelyard.cli import weights_import, weights_pull, weights_status


@click.group("weights", short_help="Import, pull and check the project's weights")
def command() -> None:
    """Files that are too large for the project's folder, kept in a registry and named in weights.lock."""


command.add_command(weights_import.command)
command.add_command(weights_pull.command)
command.add_command(weights_status.command)
