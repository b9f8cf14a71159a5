"""`yard debug`: Cog's command that prints an image's Dockerfile, with its flags, for when images are made by one."""

from __future__ import annotations

from typing import Any

import click

from modelyard.cli import images
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk


@click.command(
    "debug",
    cls=images.WithSwitches,
    short_help="Print the Dockerfile of the model's image (comes with containers)",
    epilog=examples("yard debug"),
)
@click.option("--image-name", metavar="NAME", help="The image's name.")
@images.build_options
@click.pass_obj
def command(said: Talk, /, **flags: Any) -> int:
    """Print the Dockerfile of the model's image. `yard build` writes images without one; this comes with what needs
    one."""
    images.check_build(flags, said)
    raise images.NeedsContainersError(
        "yard debug", hint="yard build makes an image without a Dockerfile; there is none to be printed"
    )
