"""`yard weights`: the managed weights of the project in the current folder."""

from __future__ import annotations

import sys

import click

from modelyard.cli import program, weights_import, weights_prune, weights_pull, weights_status
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk


@click.group(
    "weights",
    short_help="Import, pull, check and prune the project's weights",
    epilog=examples("yard weights import --dry-run", "yard weights import", "yard weights pull", "yard weights status"),
)
@click.pass_obj
def command(talk: Talk) -> None:
    """Files that are too large for the project's folder, kept in a registry and named in weights.lock."""
    if {"-h", "--help"}.intersection(sys.argv):  # the group has forgotten what stands behind it
        return
    talk.say(
        f"NOTE: {program.name()} weights is experimental. Its commands and texts may change, and what is in"
        " weights.lock may have to be imported again after an upgrade."
    )


command.add_command(weights_import.command)
command.add_command(weights_pull.command)
command.add_command(weights_status.command)
command.add_command(weights_prune.command)
