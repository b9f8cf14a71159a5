"""`yard run`: run the model of the current folder once, without a yard; or a model of a yard."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from modelyard import settings, timeouts
from modelyard.cli import images, inputs, mounted, naming, outputs, project, single
from modelyard.cli.asked import Asked
from modelyard.cli.examples import examples
from modelyard.cli.inputs import Given
from modelyard.cli.mounted import Shown
from modelyard.cli.project import Project
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError

# What `--json` without a value means; no input is an empty text.
_FLAG = ""
_SETUP_SECONDS = 600.0
_TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105 - the name of a variable
# What a run in a yard has no use for.
_FOR_HERE = {
    "--env": "variables",
    "--file": "file",
    "--setup-timeout": "setup_timeout",
    "--gpus": "gpus",
    "--use-replicate-token": "use_replicate_token",
    "--container": "container",
    "--base-image": "base_image",
    "--secret": "secret",
}


class _Run(images.WithSwitches):
    """`yard run python -c …` is what people write who look for `yard exec`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if command := _command_in(words, self):
                raise UsageError(
                    f"{ctx.command_path} runs the model, and {shlex.join(command)[:60]} is a command",
                    hint=f"yard exec {shlex.join(command)}",
                ) from error
            raise


def _command_in(words: list[str], run: click.Command) -> list[str]:
    """The command that somebody means to run; nothing where it is none."""
    ours = {flag for one in run.params for flag in one.opts}
    first = words[0] if words else ""
    if first == "-c":
        return ["python", *words]
    is_command = re.fullmatch(r"[\w.+-]+", first) is not None and not first.startswith("-")
    return words if is_command and not ours.intersection(words[1:2]) else []


class _Seconds(click.ParamType[float]):
    """A time that is more than nothing."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if seconds > 0 and math.isfinite(seconds):
            return seconds
        raise click.BadParameter(f"{value!r} is no time to wait; wanted: seconds, more than 0, such as 90", ctx, param)


@click.command(
    "run",
    cls=_Run,
    short_help="Run the model of the current folder, of a yard or of an image, once",
    epilog=examples(
        "yard run -i text=world",
        "yard run -i image=@photo.jpg -i effect=edges -o edges.jpg",
        "yard run -i images=@page1.png -i images=@page2.png --json",
        """yard run --json '{"text": "world"}'""",
        "yard run -f models/small/cog.yaml -i text=world",
        "yard run yard/photo -i image=@photo.jpg -i effect=edges",
        "yard run yard/photo -i image=@photo.jpg --detach",
        "yard run my-image -i text=world",
        "yard run --container -i text=world",
    ),
)
@click.argument("model", metavar="[NAME]", required=False)
@click.option(
    "-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input; @FILE for a file. Repeat it."
)
@click.option("-o", "--output", metavar="FILE", help="Where the output goes; a folder takes the default name in it.")
@click.option(
    "--json",
    "json_",
    is_flag=False,
    flag_value=_FLAG,
    metavar="[INPUT]",
    help="Print status, output, error and metrics as JSON; with INPUT (JSON, @FILE, or - for standard input) also "
    "take the whole input from it.",
)
@images.env_option("model")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option(
    "--setup-timeout",
    type=_Seconds(),
    metavar="SECONDS",
    help="How long setup may take, unless the model says less.  [default: 600.0]",
)
@click.option(
    "--use-replicate-token",
    is_flag=True,
    help=f"Give the model {_TOKEN} of the environment, as replicate_api_token of its context.",
)
@images.local_options
@click.option("--detach", is_flag=True, help="With OWNER/NAME: print the prediction's id and leave it running.")
@click.pass_obj
def command(
    talk: Talk,
    /,
    *,
    model: str | None,
    pairs: Sequence[str],
    output: str | None,
    json_: str | None,
    variables: Sequence[str],
    file: str | None,
    setup_timeout: float | None,
    use_replicate_token: bool,
    detach: bool,
    **flags: Any,
) -> int:
    """Run the model of the current folder once and print what it gives; or that of NAME.

    No yard is needed. The inputs are checked first; then the model's environment is made, if this machine has none yet
    for these packages; then setup and one prediction run. What the model prints goes to stderr.

    OWNER/NAME, or OWNER/NAME:VERSION, is a model of the yard that you are logged in to. Nothing runs here then: files
    are sent to the yard, and what it makes is brought back. Ctrl-C cancels.

    Any other NAME is an image, which runs in a container of the Docker Engine here: one that the engine has (my-model),
    one of a registry (HOST/NAME:TAG, docker:OWNER/NAME), a layout (oci:FOLDER) or an archive (FILE.tar). Images of Cog
    run, too.
    """
    if click.get_current_context().info_name == "predict":
        talk.warn('"cog predict" is deprecated, use "cog run" (here: yard run)')
    name = None if model is None else naming.read(model, "run")
    gpus = images.check_local(flags, talk, contained=name is not None)
    if name is not None and name.kind == "model":
        _check_for_yard(name.text, click.get_current_context().params)
        # Only these runs pay for what they need.
        from modelyard.cli import remote

        wish = remote.Wish(model=name.text, pairs=pairs, json_text=json_, output=output, detach=detach, cwd=Path.cwd())
        return remote.run(wish, settings.environment(), talk)
    if detach:
        raise UsageError("--detach leaves a prediction of a yard running; here nothing stays", hint="name a model")
    asked = Asked(
        pairs=pairs,
        json_text=json_,
        output=output,
        cwd=Path.cwd(),
        setup_seconds=_SETUP_SECONDS if setup_timeout is None else setup_timeout,
        context=_token_context(settings.environment()) if use_replicate_token else {},
    )
    if name is not None or flags["container"]:
        # Only these runs pay for what they need.
        from modelyard.cli import container_run

        with container_run.outcome(asked, name, file, variables, flags, talk) as outcome:
            return outputs.show(outcome, asked.output, talk, as_json=asked.as_json, cwd=asked.cwd)
    return _here(asked, file, variables, gpus, talk)


def _check_for_yard(model: str, given: Mapping[str, Any]) -> None:
    for flag, name in _FOR_HERE.items():
        if given[name]:
            raise UsageError(
                f"{flag} is for a run on this machine; {model} runs in a yard",
                hint=f"{naming.DOCKER}{model} is an image of that name",
            )


def _here(asked: Asked, file: str | None, variables: Sequence[str], gpus: Mapping[str, str], talk: Talk) -> int:
    found = project.find(asked.cwd, file, talk, variables=variables)
    given = inputs.parse(found.document, asked.pairs, asked.json_text or None, asked.cwd)
    outputs.check_target(asked.output, asked.cwd)
    environ = settings.environment()
    # What happens to the worker is said in the outcome; as log lines it would stand among the model's own words.
    logging.getLogger("modelyard_runner").addHandler(logging.NullHandler())
    python = project.prepare(found, environ, talk)
    environment = project.model_environment(found, python, environ, variables, gpus)
    with mounted.shown(found.root, found.config, environ) as seen:
        try:
            return asyncio.run(_run(asked, found, given, python, environment, seen=seen, talk=talk))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _token_context(environ: Mapping[str, str]) -> dict[str, str]:
    token = environ.get(_TOKEN)
    if not token:
        raise UsageError(f"Failed to find {_TOKEN} in the environment, which --use-replicate-token gives to the model")
    return {_TOKEN.lower(): token}


async def _run(
    asked: Asked,
    found: Project,
    given: Given,
    python: Path,
    environment: dict[str, str],
    *,
    seen: Shown,
    talk: Talk,
) -> int:
    talk.say("Setting up the model...")
    own = timeouts.read(environment)
    setup_seconds = own.setup_within(asked.setup_seconds)
    async with single.running(found, python, environment, setup_seconds, talk, mounts=seen.mounts) as supervisor:
        talk.say("Running prediction...")
        on_piece = _printer(found, asked)
        outcome = await single.predict(
            supervisor, given, talk, on_piece, timeout_seconds=own.run_seconds, context=asked.context
        )
        if on_piece is not None and outcome.status == "succeeded":
            sys.stdout.write("\n")
            return 0
        hint = single.missing_variable(outcome.error, environment)
        return outputs.show(outcome, asked.output, talk, as_json=asked.as_json, cwd=asked.cwd, hint=hint)


def _printer(found: Project, asked: Asked) -> Callable[[Any], None] | None:
    """What prints the pieces of a text as they come: only for people who look; a program gets the whole list."""
    output = found.document["components"]["schemas"]["Output"]
    together = output.get("x-cog-array-display") == "concatenate"
    if not together or asked.as_json or asked.output is not None or not sys.stdout.isatty():
        return None

    def show(piece: Any) -> None:
        sys.stdout.write(str(piece))
        sys.stdout.flush()

    return show
