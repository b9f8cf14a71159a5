"""`yard init`: a project that works at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from modelyard.cli import talk as results
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, UsageError
from modelyard.packaging import config

_COG_YAML = """\
# What this model needs and where its code is.
build:
  # The Python that the model runs on.
  python_version: "{python}"
  # Packages of the model, one a line, as pip reads them.
  python_requirements: requirements.txt
  # gpu: true

# The file and the class (or function) in it.
run: "run.py:Runner"
"""

_RUN_PY = '''\
from cog import BaseRunner, Input


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load what every prediction needs; this runs once, when an instance starts."""
        self.greeting = "hello"

    def run(
        self,
        text: str = Input(description="Whom to greet", default="world"),
        times: int = Input(description="How often", default=1, ge=1, le=10),
    ) -> str:
        """Run one prediction. Its inputs, with their limits, become the API of the model."""
        return " ".join([f"{self.greeting} {text}"] * times)
'''

_REQUIREMENTS = """\
# Packages that the model needs, one a line, best with a version: numpy==2.3.4
"""

_DOCKERIGNORE = """\
# What stays out of a pushed version, beside .git, .cog and caches, which always do.
.github
.venv
.env
*.key
*.pem
*.log
*.mp4
*.bak
output.*
"""

_WORKFLOW = """\
# Push a version by hand: Actions, Push, Run workflow. It wants two secrets of the repository: MODELYARD_URL, the yard's
# address, and MODELYARD_TOKEN.
name: Push

on:
  workflow_dispatch:
    inputs:
      model:
        description: "OWNER/NAME; empty: `image` of cog.yaml"
        required: false

jobs:
  push:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "{python}"
      - run: pip install modelyard # or the wheel that you built
      - run: yard push $MODEL
        env:
          MODEL: ${{{{ inputs.model }}}}
          MODELYARD_URL: ${{{{ secrets.MODELYARD_URL }}}}
          MODELYARD_TOKEN: ${{{{ secrets.MODELYARD_TOKEN }}}}
"""


# Files of a new project, and the line of cog.yaml that each is for.
_NAMED_BY = {
    "run.py": '`run: "run.py:Runner"`',
    "requirements.txt": "`python_requirements: requirements.txt` below `build`",
}


@click.command(
    "init",
    short_help="Make a project in the current folder",
    epilog=examples("yard init", "yard init my-model", "yard init my-model && cd my-model && yard run -i text=world"),
)
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the names of what was made and what was left.")
@click.pass_obj
def command(talk: Talk, folder: Path, as_json: bool) -> None:
    """Make a project that works at once in FOLDER (the current one): cog.yaml, run.py, requirements.txt, .dockerignore,
    and a workflow for GitHub that pushes when it is told to.

    Files that are already there are left as they are; where they and what was made do not go together, it is said.
    """
    here = folder.resolve() == Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    # Scripts that were written for Cog look for these lines.
    talk.say(f"Setting up {'the current directory' if here else folder} for use with Cog...")
    made: list[str] = []
    left: list[str] = []
    for name, text in _files().items():
        try:
            _create(folder / name, text)
        except FileExistsError:
            left.append(name)
            talk.say(f"Skipped existing {name}")
        else:
            made.append(name)
            talk.say(f"Creating {name}")
    _advise(folder, made, left, talk)
    # Of a model that was here already the inputs are not known.
    example = " -i text=world" if {config.FILE, "run.py"} <= set(made) else ""
    talk.say(f"Done! For next steps, try: {'' if here else f'cd {folder} && '}yard run{example}")
    if as_json:
        results.result_json({"folder": str(folder), "created": made, "left": left})


def _files() -> dict[str, str]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "cog.yaml": _COG_YAML.format(python=python),
        "run.py": _RUN_PY,
        "requirements.txt": _REQUIREMENTS,
        ".dockerignore": _DOCKERIGNORE,
        ".github/workflows/push.yaml": _WORKFLOW.format(python=python),
    }


def _create(path: Path, text: str) -> None:
    """Raises FileExistsError where something of that name is there, even a link that leads nowhere."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"{path} cannot be made: a folder is wanted at {path.parent}, and a file is in the way",
            hint="move that file away, and say it again; what was made stays as it is",
        ) from None
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _advise(folder: Path, made: Sequence[str], left: Sequence[str], talk: Talk) -> None:
    """What was here was not touched: what that means, and what can be done about it."""
    if config.FILE in left:
        unused = [name for name in _unused(folder) if name in made]
        if unused:
            lines = " and ".join(_NAMED_BY[name] for name in unused)
            talk.warn(
                f"{config.FILE} was here already and does not name {' or '.join(unused)}, made just now:"
                f" delete what you do not need, or write {lines} there"
            )
    elif "run.py" in left:
        talk.warn(
            f"run.py was here already; {config.FILE}, made just now, takes its class Runner:"
            " name another one there where it has none"
        )
    if left:
        talk.say("What was skipped is as it was. To have a file made anew, move it away and say `yard init` again.")


def _unused(folder: Path) -> list[str]:
    """Files of ours that the cog.yaml of somebody else does not name."""
    try:
        found = config.parse((folder / config.FILE).read_bytes(), root=folder)
    except (ModelyardError, OSError):
        # What is wrong with it is said by the next command that reads it.
        return []
    named = {(ref or "").partition(":")[0] for ref in (found.run, found.train)} | {found.python_requirements}
    return [name for name in _NAMED_BY if name not in named]
