"""`yard init`: a project that works at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from modelyard.cli import talk as results
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk

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


@click.command(
    "init",
    short_help="Make a project in the current folder",
    epilog=examples("yard init", "yard init my-model", "yard init my-model && cd my-model && yard run -i text=world"),
)
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the names of what was made and what was left.")
@click.pass_obj
def command(talk: Talk, folder: Path, as_json: bool) -> None:
    """Make a project that works at once in FOLDER (the current one): cog.yaml, run.py, requirements.txt, .dockerignore,
    and a workflow for GitHub that pushes when it is told to.

    Files that are already there are left as they are.
    """
    here = folder.resolve() == Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    # Scripts that were written for Cog look for these lines.
    talk.say(f"Setting up {'the current directory' if here else folder} for use with Cog...")
    made: list[str] = []
    left: list[str] = []
    for name, text in _files().items():
        fresh = _create(folder / name, text)
        (made if fresh else left).append(name)
        talk.say(f"Creating {name}" if fresh else f"Skipped existing {name}")
    # Of a model that was here already the inputs are not known.
    example = " -i text=world" if {"cog.yaml", "run.py"} <= set(made) else ""
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


def _create(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
