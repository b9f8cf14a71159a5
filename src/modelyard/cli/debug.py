"""`yard debug`: Cog's command that prints an image's Dockerfile, with its flags, for when there are images."""

from __future__ import annotations

from typing import Any

import click

from modelyard.cli import build, images
from modelyard.cli.examples import examples


@click.command(
    "debug",
    cls=images.WithSwitches,
    short_help="Print the Dockerfile of the model's image (comes with containers)",
    epilog=examples("yard debug"),
)
@click.option("--image-name", metavar="NAME", help="The image's name.")
@images.build_options
def command(**flags: Any) -> int:
    """Print the Dockerfile that `yard build` uses. This comes with containers, which Modelyard does not have yet."""
    images.check_build(flags)
    raise images.NeedsContainersError("yard debug", hint=build.INSTEAD)
