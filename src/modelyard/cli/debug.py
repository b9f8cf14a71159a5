"""`yard debug`: Cog's command that prints an image's Dockerfile, with its flags, for when images are made by one."""

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
@build.options
def command(**flags: Any) -> int:
    """Print the Dockerfile of the model's image. `yard build` writes images without one; this comes with what needs
    one."""
    images.check_bases(flags)
    raise images.NeedsContainersError(
        "yard debug", hint="yard build makes an image without a Dockerfile; there is none to be printed"
    )
