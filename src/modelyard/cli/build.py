"""`yard build`: Cog's command that makes an image, with its flags, for when there are images."""

from __future__ import annotations

from typing import Any

import click

from modelyard.cli import images
from modelyard.cli.examples import examples

INSTEAD = "yard push OWNER/NAME makes a version of the model without one; yard run and yard serve use it here"


@click.command(
    "build",
    cls=images.WithSwitches,
    short_help="Make a container image of the model (comes with containers)",
    epilog=examples("yard build -t my-model", "yard push yard/my-model    # what works today"),
)
@click.option("-t", "--tag", metavar="NAME", help="The image's name.")
@images.build_options
def command(**flags: Any) -> int:
    """Make a container image of the model of the current folder. This comes with containers, which Modelyard does not
    have yet: `yard push` makes a version of the model without one.
    """
    images.check_build(flags)
    raise images.NeedsContainersError("yard build", hint=INSTEAD)
