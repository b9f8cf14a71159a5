"""`yard debug`: Cog's command that prints an image's Dockerfile, with its flags: of what must be executed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from modelyard import settings
from modelyard.cli import bases, cuda, images, imaging, project, steps, systems, talk
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
    """Print what `yard build` lets an engine execute, as Dockerfiles: the packages of the system that cog.yaml names,
    on the base, and the commands of `build.run`, on the model's packages. The rest of the image is written without one.
    """
    images.check_build(flags, said)
    environ = settings.environment()
    found = project.locate(Path.cwd(), flags["file"], said)
    if flags["dockerfile"]:
        said.say(f"The image is that of {flags['dockerfile']}, with labels and the schema.")
        return 0
    wanted = bases.wish(
        flags["base_image"], found.config.python_version, imaging.architecture(flags["platform"]), environ
    )
    parts = [*_bases(found, wanted, flags, environ, said), *_steps(found, flags, said)]
    if not parts:
        said.say("Nothing must be executed for this image: yard build writes it without a Dockerfile.")
        return 0
    talk.result("\n".join(parts).rstrip("\n"))
    return 0


def _bases(
    found: project.Folder, wanted: bases.Wish, flags: Mapping[str, Any], environ: dict[str, str], said: Talk
) -> Iterator[str]:
    """Of the base: a Python for NVIDIA's image, and the packages of the system."""
    config = found.config
    name = None
    flag = flags["use_cuda_base_image"] or cuda.AUTOMATIC
    if cuda.is_wanted(flag, config, found.root, wanted.ref, environ):
        image = cuda.image(config, flag)
        name = cuda.name(image, config.python_version)
        said.say(f"{name} is what the engine calls the first of these.")
        yield dockerfile.with_python(image.name, config.python_version, from_apt=image.has_python)
    if not config.system_packages:
        return
    if name is None:
        on = bases.find(wanted, environ, said)
        name = systems.base_name(on)
        said.say(f"{name} is what the engine calls {on.ref}.")
    yield dockerfile.system_packages(name, config.system_packages)


def _steps(found: project.Folder, flags: Mapping[str, Any], said: Talk) -> Iterator[str]:
    compiled = steps.COMPILED if flags["precompile"] else ()
    if found.config.commands or compiled:
        name, _ = steps.names(found.root)
        said.say(f"{name} is what the engine calls the base with the packages of the system and of the model.")
        yield dockerfile.steps(name, found.config.commands, compiled=compiled)
