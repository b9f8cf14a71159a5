"""`yard debug`: Cog's command that prints an image's Dockerfile, with its flags: of what must be executed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard import settings
from modelyard.cli import bases, images, imaging, project, systems, talk
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.packaging import dockerfile


@click.command(
    "debug",
    cls=images.WithSwitches,
    short_help="Print the Dockerfile that yard build has executed",
    epilog=examples("yard debug"),
)
@click.option("--image-name", metavar="NAME", hidden=True)
@images.build_options
@click.pass_obj
def command(said: Talk, /, **flags: Any) -> int:
    """Print the Dockerfile that `yard build` lets an engine execute: the one that puts the `system_packages` of
    cog.yaml on the base. The rest of the image is written without one.
    """
    images.check_build(flags, said)
    environ = settings.environment()
    config = project.locate(Path.cwd(), flags["file"], said).config
    if not config.system_packages:
        said.say("Nothing must be executed for this image: yard build writes it without a Dockerfile.")
        return 0
    architecture = imaging.architecture(flags["platform"])
    wanted = bases.wish(flags["base_image"], config.python_version, architecture, environ)
    on = bases.find(wanted, environ, said)
    said.say(f"{systems.base_name(on)} is what the engine calls {on.ref}.")
    talk.result(dockerfile.system_packages(systems.base_name(on), config.system_packages).rstrip("\n"))
    return 0
