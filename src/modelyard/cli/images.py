"""What belongs to images and containers: their flags, taken so that scripts written for Cog run, and what they need.

A command that runs the model here uses the flags of a build with `--container` only; each is checked anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from modelyard.cli import build_secrets
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError

GPUS = "CUDA_VISIBLE_DEVICES"
# Which host's names are Replicate's own; the variable says the same.
REGISTRY = "--registry"
REGISTRY_VARIABLE = "COG_REGISTRY_HOST"
_BASES = {
    "--use-cog-base-image": "use_cog_base_image",
    "--use-cuda-base-image": "use_cuda_base_image",
    "--dockerfile": "dockerfile",
}
_DEVICES = re.compile(r"device=([\w-]+(?:,[\w-]+)*)(?:,\w+=.*)?")


class Switch(click.Option):
    """`--name`, `--name=true` or `--name=false`; None where it is not given. Only a `WithSwitches` takes it alone."""

    def __init__(self, declarations: list[str], **attributes: Any) -> None:
        super().__init__(declarations, type=click.BOOL, metavar="[=true|false]", **attributes)


class WithSwitches(click.Command):
    """A command with switches as Cog's are; the library knows either flags or options with a value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._spelled(args, ctx.allow_interspersed_args)))

    def _spelled(self, args: list[str], interspersed: bool) -> Iterator[str]:
        """The words with each lone switch as one with a value; what follows the options may belong to somebody else."""
        options = {name: one for one in self.params if isinstance(one, click.Option) for name in one.opts}
        rest = list(args)
        while rest:
            word = rest.pop(0)
            option = options.get(word)
            yield f"{word}=true" if isinstance(option, Switch) else word
            if word == "--" or not (word.startswith("-") or interspersed):
                break
            if option is not None and not (option.is_flag or isinstance(option, Switch)) and rest:
                yield rest.pop(0)
        yield from rest


def env_option(whom: str) -> Callable[..., Any]:
    """A variable for whatever runs."""
    text = f"A variable for the {whom}; NAME alone: with its value here. Repeat it."
    return click.option("-e", "--env", "variables", multiple=True, metavar="NAME[=VALUE]", help=text)


def progress_option(**attributes: Any) -> Callable[..., Any]:
    """How the progress of a build is shown."""
    return click.option("--progress", type=click.Choice(["auto", "tty", "plain", "quiet"]), **attributes)


def base_options(function: Callable[..., Any], *, hidden: bool = True) -> Callable[..., Any]:
    """What an image is made from: three flags of which one may be given."""
    for option in (
        click.option("--dockerfile", metavar="FILE", hidden=True, help="A Dockerfile to use instead of the made one."),
        click.option(
            "--use-cuda-base-image",
            type=click.Choice(["auto", "true", "false"]),
            hidden=hidden,
            help="Begin with NVIDIA's CUDA image.",
        ),
        click.option("--use-cog-base-image", cls=Switch, hidden=hidden, help="Begin with an image that has Python."),
    ):
        function = option(function)
    return function


def local_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of images and containers on a command that runs the model here; those of a build are hidden."""
    function = base_options(progress_option(hidden=True)(function))
    function = click.option(
        "--secret", multiple=True, metavar="id=NAME,src=FILE", help="With --container: a secret for build.run."
    )(function)
    function = click.option(
        "--base-image", metavar="REF", help="With --container: what its image is put on, REF or oci:FOLDER."
    )(function)
    function = click.option(
        "--container", is_flag=True, help="In a container of the Docker Engine, as in an image, instead of here."
    )(function)
    return click.option("--gpus", metavar="WHICH", help="all, how many, or device=0,1; for models that use CUDA.")(
        function
    )


def check_bases(flags: Mapping[str, Any]) -> None:
    """Raises UsageError where more than one of the three is given."""
    given = [flag for flag, name in _BASES.items() if flags.get(name) is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} cannot be given together: each names what an image is made from")


def build_options(function: Callable[..., Any], *, hidden: bool = False) -> Callable[..., Any]:
    """The flags of a command that builds an image or says how. `hidden`: where they mean little."""
    for option in (
        click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above."),
        click.option("--base-image", metavar="REF", help="What the image is put on: REF, oci:FOLDER or none."),
        click.option("--platform", metavar="OS/ARCH", help="linux/amd64 or linux/arm64; else this machine's."),
        click.option("--no-cache", cls=Switch, hidden=hidden, help="Make every layer anew."),
        click.option("--separate-weights", cls=Switch, hidden=hidden, help="Large files are layers of their own."),
        click.option("--openapi-schema", metavar="FILE", help="A schema to use instead of the one that is read."),
        click.option(
            "--secret", multiple=True, hidden=hidden, metavar="id=NAME,src=FILE", help="A secret for build.run."
        ),
        click.option("--timestamp", type=int, hidden=True),
        click.option("--strip", cls=Switch, hidden=True),
        click.option("--precompile", cls=Switch, hidden=True),
        click.option("--skip-schema-validation", cls=Switch, hidden=True),
        progress_option(hidden=hidden, help="How the progress of the build is shown."),
    ):
        function = option(function)
    return base_options(function, hidden=hidden)


def check_build(flags: Mapping[str, Any], talk: Talk) -> None:
    """Raises UsageError for flags of `build_options` that no build would take; says which do nothing."""
    _check_made(flags)
    if flags["strip"]:
        talk.warn("--strip does nothing: the packages are as they came")


def _check_made(flags: Mapping[str, Any]) -> None:
    check_bases(flags)
    for secret in flags["secret"]:
        build_secrets.parse(secret)
    if flags["use_cuda_base_image"] == "true" and flags["base_image"]:
        raise UsageError(
            "--use-cuda-base-image=true and --base-image cannot be given together: each names what the image is put on"
        )


def check_local(flags: Mapping[str, Any], talk: Talk, *, contained: bool = False) -> dict[str, str]:
    """Check the flags of `local_options`; gives the model's variables that they mean, none for one in a container.

    Raises UsageError for wrong ones.
    """
    _check_made(flags)
    variables = {} if flags["gpus"] is None else _visible(flags["gpus"])
    if contained or flags["container"]:
        return {}
    if variables.get(GPUS) and not has_gpu(Path("/dev")):
        talk.warn(f"--gpus {flags['gpus']}: no GPU can be seen on this machine; the model runs without one")
    if flags["dockerfile"] is not None:
        talk.warn("--dockerfile is for images; here the environment comes from cog.yaml")
    for flag in _of_a_project(flags):
        talk.warn(f"{flag} is for images; without --container it does nothing")
    return variables


def check_image(name: str, file: str | None, flags: Mapping[str, Any]) -> None:
    """Raises UsageError for what a command on an image has no use for."""
    if file is not None:
        raise UsageError(f"--file names a project, and {name} is an image, which brings its own")
    for flag in _of_a_project(flags):
        raise UsageError(f"{flag} is for the image that is made of a project, and {name} is one already")


def _of_a_project(flags: Mapping[str, Any]) -> list[str]:
    """Which flags were given that say how a project's image is made, and stand in the help."""
    return [flag for flag, name in (("--base-image", "base_image"), ("--secret", "secret")) if flags[name]]


def has_gpu(devices: Path) -> bool:
    """Does this folder of devices have a GPU: NVIDIA's, AMD's, or one that Windows lends?"""
    return any(next(devices.glob(pattern), None) for pattern in ("nvidia[0-9]*", "kfd", "dxg"))


def _visible(gpus: str) -> dict[str, str]:
    """The variable that leaves a model these GPUs alone; docker's spellings, its quotes within quotes included."""
    plain = gpus.strip("\"'")
    if plain == "all":
        return {}
    if re.fullmatch(r"[0-9]{1,3}", plain):
        return {GPUS: ",".join(map(str, range(int(plain))))}
    devices = _DEVICES.fullmatch(plain)
    if devices is None:
        raise UsageError(f"--gpus is {gpus!r}; wanted: all, how many (2), or which (device=0,1)")
    return {GPUS: devices[1]}
