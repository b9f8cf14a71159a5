"""`yard build`: Cog's command that makes an image, with its flags, for when there are images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from modelyard.cli import images
from modelyard.cli.examples import examples

INSTEAD = "yard push OWNER/NAME makes a version of the model without one; yard run and yard serve use it here"


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of a command that builds an image or says how."""
    for option in (
        click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above."),
        click.option("--no-cache", cls=images.Switch, help="Make every layer anew."),
        click.option("--separate-weights", cls=images.Switch, help="Put large files into layers of their own."),
        click.option("--openapi-schema", metavar="FILE", help="A schema to use instead of the one that is read."),
        click.option("--secret", multiple=True, metavar="id=NAME,src=FILE", help="A secret for build.run. Repeat it."),
        click.option("--timestamp", type=int, hidden=True),
        click.option("--strip", cls=images.Switch, hidden=True),
        click.option("--precompile", cls=images.Switch, hidden=True),
        click.option("--skip-schema-validation", cls=images.Switch, hidden=True),
        images.progress_option(help="How the progress of the build is shown."),
    ):
        function = option(function)
    return images.base_options(function, hidden=False)


@click.command(
    "build",
    cls=images.WithSwitches,
    short_help="Make a container image of the model (comes with containers)",
    epilog=examples("yard build -t my-model", "yard push yard/my-model    # what works today"),
)
@click.option("-t", "--tag", metavar="NAME", help="The image's name.")
@options
def command(**flags: Any) -> int:
    """Make a container image of the model of the current folder. This comes with containers, which Modelyard does not
    have yet: `yard push` makes a version of the model without one.
    """
    images.check_bases(flags)
    raise images.NeedsContainersError("yard build", hint=INSTEAD)
