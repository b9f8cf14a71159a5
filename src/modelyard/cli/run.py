"""`yard run`: run the model of the current folder once, without a yard."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from modelyard import settings, timeouts
from modelyard.cli import inputs, outputs, project, single
from modelyard.cli.examples import examples
from modelyard.cli.inputs import Given
from modelyard.cli.project import Project
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError

_MODEL_NAME = re.compile(r"[a-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?", re.IGNORECASE)

# What `--json` without a value means; no input is an empty text.
_FLAG = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    output: str | None
    as_json: bool
    setup_timeout_seconds: float
    cwd: Path


@click.command(
    "run",
    short_help="Run the model of the current folder once",
    epilog=examples(
        "yard run -i text=world",
        "yard run -i image=@photo.jpg -i effect=edges -o edges.jpg",
        "yard run -i images=@page1.png -i images=@page2.png --json",
        """yard run --json '{"text": "world"}'""",
        "yard run -f models/small/cog.yaml -i text=world",
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
@click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable for the model.")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option(
    "--setup-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long setup may take, unless the model says less.",
)
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
    setup_timeout: float,
) -> int:
    """Run the model of the current folder once and print what it gives.

    No yard is needed. The inputs are checked first; then the model's environment is made, if this machine has none yet
    for these packages; then setup and one prediction run. What the model prints goes to stderr.
    """
    _refuse_model(model)
    cwd = Path.cwd()
    found = project.find(cwd, file, talk)
    given = inputs.parse(found.document, pairs, None if json_ == _FLAG else json_, cwd)
    outputs.check_target(output, cwd)
    # What happens to the worker is said in the outcome; as log lines it would stand among the model's own words.
    logging.getLogger("modelyard_runner").addHandler(logging.NullHandler())
    environ = settings.environment()
    python = project.prepare(found, environ, talk)
    environment = project.model_environment(found, python, environ, variables)
    wanted = _Wanted(output=output, as_json=json_ is not None, setup_timeout_seconds=setup_timeout, cwd=cwd)
    try:
        return asyncio.run(_run(found, given, python, environment, wanted, talk))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _refuse_model(model: str | None) -> None:
    if model is None:
        return
    if "=" in model:
        raise UsageError(f"{model!r} is no option of run", hint=f"did you forget -i? yard run -i {model}")
    if _MODEL_NAME.fullmatch(model):
        raise UsageError(
            f"yard run runs the model of the current folder; running {model} in a yard from here is not possible yet",
            hint="POST /v1/predictions, or the replicate client, runs a model of a yard",
        )
    raise UsageError(
        f"{model!r} is unexpected: run takes the model of the current folder", hint="-f names another cog.yaml"
    )


async def _run(
    found: Project, given: Given, python: Path, environment: dict[str, str], wanted: _Wanted, talk: Talk
) -> int:
    talk.say("Setting up the model...")
    own = timeouts.read(environment)
    setup_seconds = own.setup_within(wanted.setup_timeout_seconds)
    async with single.running(found, python, environment, setup_seconds, talk) as supervisor:
        talk.say("Running prediction...")
        on_piece = _printer(found, wanted)
        outcome = await single.predict(supervisor, given, talk, on_piece, timeout_seconds=own.run_seconds)
        if on_piece is not None and outcome.status == "succeeded":
            sys.stdout.write("\n")
            return 0
        return outputs.show(outcome, wanted.output, talk, as_json=wanted.as_json, cwd=wanted.cwd)


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
