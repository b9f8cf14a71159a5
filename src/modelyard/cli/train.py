"""`yard train`: run what `train` of cog.yaml names once, here; Cog's own command for it is on its way out."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from modelyard import settings, timeouts
from modelyard.cli import images, inputs, mounted, naming, outputs, project, single
from modelyard.cli.asked import Asked
from modelyard.cli.examples import examples
from modelyard.cli.inputs import Given
from modelyard.cli.mounted import Shown
from modelyard.cli.outputs import Outcome
from modelyard.cli.project import Project
from modelyard.cli.talk import Talk

_DEPRECATED = 'Command "train" is deprecated, the train command will be removed in a future version of Cog'
_SETUP_SECONDS = 300.0


@click.command(
    "train",
    cls=images.WithSwitches,
    short_help="Train the model of the current folder once",
    epilog=examples(
        "yard train -i data=@photos.zip -i steps=100", "yard train -i data=@photos.zip -o tuned.safetensors"
    ),
)
@click.argument("image", metavar="[IMAGE]", required=False)
@click.option(
    "-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input; @FILE for a file. Repeat it."
)
@click.option(
    "-o",
    "--output",
    default=outputs.TRAINED_NAME,
    metavar="FILE",
    help=f"Where the output goes; a folder takes the default name in it.  [default: {outputs.TRAINED_NAME}]",
)
@images.env_option("model")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@images.local_options
@click.pass_obj
def command(
    talk: Talk,
    /,
    *,
    image: str | None,
    pairs: Sequence[str],
    output: str,
    variables: Sequence[str],
    file: str | None,
    **flags: Any,
) -> int:
    """Run the function or class that `train` of cog.yaml names, once, in the local environment; or that of IMAGE, in
    a container of the Docker Engine here, which pulls what it has not.

    The inputs are checked first. What train() gives is written to a file: a file with its own extension, a text as it
    is, all else as JSON. It runs in the project's folder, where files that it writes itself stay.
    """
    talk.warn(_DEPRECATED)
    name = None if image is None else naming.read(image, "train")
    gpus = images.check_local(flags, talk, contained=name is not None)
    cwd = Path.cwd()
    if name is not None or flags["container"]:
        asked = Asked(pairs=pairs, output=output, cwd=cwd, setup_seconds=_SETUP_SECONDS, mode="train")
        # Only these trainings pay for what they need.
        from modelyard.cli import container_run

        with container_run.outcome(asked, name, file, variables, flags, talk) as outcome:
            return outputs.keep(outcome, output, talk, cwd)
    found = project.find_trainer(cwd, file, talk, variables)
    given = inputs.parse(inputs.of_training(found.document), pairs, None, cwd)
    outputs.check_target(output, cwd)
    # What happens to the worker is said in the outcome; as log lines it would stand among the model's own words.
    logging.getLogger("modelyard_runner").addHandler(logging.NullHandler())
    environ = settings.environment()
    python = project.prepare(found, environ, talk)
    environment = project.model_environment(found, python, environ, variables, gpus)
    with tempfile.TemporaryDirectory(prefix="yard-", ignore_cleanup_errors=True) as aside:
        with mounted.shown(found.root, found.config, environ) as seen:
            try:
                outcome = asyncio.run(_train(found, given, python, environment, talk, seen=seen, aside=Path(aside)))
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
        # Only now: a folder that was made to show weights may well have the output's name.
        return outputs.keep(outcome, output, talk, cwd)


async def _train(
    found: Project,
    given: Given,
    python: Path,
    environment: dict[str, str],
    talk: Talk,
    *,
    seen: Shown,
    aside: Path,
) -> Outcome:
    talk.say("Setting up the model...")
    # How long one run may take is no measure for a training.
    seconds = timeouts.read(environment).setup_within(_SETUP_SECONDS)
    async with single.running(found, python, environment, seconds, talk, mounts=seen.mounts) as supervisor:
        talk.say("Running training...")
        outcome = await single.predict(supervisor, given, talk)
        return outputs.set_aside(outcome, aside)
