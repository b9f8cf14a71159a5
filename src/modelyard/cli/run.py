"""`yard run`: run the model of the current folder once, without a yard; or a model of a yard."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from modelyard import settings, timeouts
from modelyard.cli import images, inputs, mounted, outputs, project, single
from modelyard.cli.examples import examples
from modelyard.cli.inputs import Given
from modelyard.cli.project import Project
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError

# What `--json` without a value means; no input is an empty text.
_FLAG = ""
_SETUP_SECONDS = 600.0
_TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    output: str | None
    as_json: bool
    setup_timeout_seconds: float
    context: Mapping[str, str]
    cwd: Path
    mounts: Sequence[Mapping[str, Any]]


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
    short_help="Run the model of the current folder, or one of a yard, once",
    epilog=examples(
        "yard run -i text=world",
        "yard run -i image=@photo.jpg -i effect=edges -o edges.jpg",
        "yard run -i images=@page1.png -i images=@page2.png --json",
        """yard run --json '{"text": "world"}'""",
        "yard run -f models/small/cog.yaml -i text=world",
        "yard run yard/photo -i image=@photo.jpg -i effect=edges",
        "yard run yard/photo -i image=@photo.jpg --detach",
    ),
)
@click.argument("model", required=False)
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
@click.option("--detach", is_flag=True, help="With a MODEL: print the prediction's id and leave it running.")
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
    """Run the model of the current folder once and print what it gives; with MODEL (OWNER/NAME, or OWNER/NAME:VERSION)
    the one of the yard that you are logged in to.

    No yard is needed. The inputs are checked first; then the model's environment is made, if this machine has none yet
    for these packages; then setup and one prediction run. What the model prints goes to stderr.

    With MODEL nothing runs here: files are sent to the yard, and what it makes is brought back. Ctrl-C cancels.
    """
    if click.get_current_context().info_name == "predict":
        talk.warn('"cog predict" is deprecated, use "cog run" (here: yard run)')
    cwd = Path.cwd()
    gpus = images.check_local("yard run", flags, talk)
    if model is not None:
        for_here = {
            "--env": variables,
            "--file": file,
            "--setup-timeout": setup_timeout,
            "--gpus": flags["gpus"],
            "--use-replicate-token": use_replicate_token,
        }
        _check_model(model, [name for name, given in for_here.items() if given])
        # Only these runs pay for what they need.
        from modelyard.cli import remote

        wish = remote.Wish(model=model, pairs=pairs, json_text=json_, output=output, detach=detach, cwd=cwd)
        return remote.run(wish, settings.environment(), talk)
    if detach:
        raise UsageError("--detach leaves a prediction of a yard running; here nothing stays", hint="name a model")
    found = project.find(cwd, file, talk, variables=variables)
    given = inputs.parse(found.document, pairs, None if json_ == _FLAG else json_, cwd)
    outputs.check_target(output, cwd)
    environ = settings.environment()
    context = _token_context(environ) if use_replicate_token else {}
    # What happens to the worker is said in the outcome; as log lines it would stand among the model's own words.
    logging.getLogger("modelyard_runner").addHandler(logging.NullHandler())
    python = project.prepare(found, environ, talk)
    environment = project.model_environment(found, python, environ, variables, gpus)
    seconds = _SETUP_SECONDS if setup_timeout is None else setup_timeout
    with mounted.shown(found.root, found.config, environ) as seen:
        wanted = _Wanted(
            output=output,
            as_json=json_ is not None,
            setup_timeout_seconds=seconds,
            context=context,
            cwd=cwd,
            mounts=seen.mounts,
        )
        try:
            return asyncio.run(_run(found, given, python, environment, wanted, talk))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _check_model(model: str, for_here: list[str]) -> None:
    if "=" in model:
        raise UsageError(f"{model!r} is no option of run", hint=f"did you forget -i? yard run -i {model}")
    if model.count("/") != 1:
        raise images.NeedsContainersError(
            f"running the image {model!r}",
            hint="OWNER/NAME runs a model of a yard, and no name the one in this folder; a command is run by "
            f"`yard exec {shlex.quote(model)}`",
        )
    if for_here:
        raise UsageError(f"{for_here[0]} is for a run on this machine; {model} runs in a yard")


def _token_context(environ: Mapping[str, str]) -> dict[str, str]:
    token = environ.get(_TOKEN)
    if not token:
        raise UsageError(f"Failed to find {_TOKEN} in the environment, which --use-replicate-token gives to the model")
    return {_TOKEN.lower(): token}


async def _run(
    found: Project, given: Given, python: Path, environment: dict[str, str], wanted: _Wanted, talk: Talk
) -> int:
    talk.say("Setting up the model...")
    own = timeouts.read(environment)
    setup_seconds = own.setup_within(wanted.setup_timeout_seconds)
    async with single.running(found, python, environment, setup_seconds, talk, mounts=wanted.mounts) as supervisor:
        talk.say("Running prediction...")
        on_piece = _printer(found, wanted)
        outcome = await single.predict(
            supervisor, given, talk, on_piece, timeout_seconds=own.run_seconds, context=wanted.context
        )
        if on_piece is not None and outcome.status == "succeeded":
            sys.stdout.write("\n")
            return 0
        hint = single.missing_variable(outcome.error, environment)
        return outputs.show(outcome, wanted.output, talk, as_json=wanted.as_json, cwd=wanted.cwd, hint=hint)


def _printer(found: Project, wanted: _Wanted) -> Callable[[Any], None] | None:
    """What prints the pieces of a text as they come: only for people who look; a program gets the whole list."""
    output = found.document["components"]["schemas"]["Output"]
    together = output.get("x-cog-array-display") == "concatenate"
    if not together or wanted.as_json or wanted.output is not None or not sys.stdout.isatty():
        return None

    def show(piece: Any) -> None:
        sys.stdout.write(str(piece))
        sys.stdout.flush()

    return show
