"""The project of the current folder, as the commands that run it here need it: read, checked, with an environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard import settings, timeouts
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.packaging import box, brought, config, environment, schema
from modelyard.packaging.config import Config

# What is the yard's or the person's business, and no model's.
_PRIVATE = ("MODELYARD_", "REPLICATE_API_TOKEN", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A model's project. `ref`: its function as `run.py:Runner`; `document`: the OpenAPI document of its schema."""

    root: Path
    config: Config
    ref: str
    document: Mapping[str, Any]
    concurrency: int


def find(cwd: Path, file: str | None, talk: Talk) -> Project:
    """Read the project at or above `cwd`, or that of the cog.yaml named by `file`. Raises ConfigError, SchemaError."""
    where = cwd / file if file else config.find(cwd)
    root = where.parent if file and not where.is_dir() else where
    found = config.load(where)
    for warning in found.warnings:
        talk.warn(warning)
    if found.run is None:
        raise config.ConfigError("cog.yaml names no model", hint='add the line: run: "run.py:Runner"')
    document = schema.read(root, found.run)
    traits = schema.read_traits(root, found.run)
    concurrency = found.concurrency or traits.concurrency
    return Project(root=root, config=found, ref=found.run, document=document, concurrency=concurrency)


def prepare(project: Project, environ: Mapping[str, str], talk: Talk) -> Path:
    """The Python of an environment with the project's packages, made now if need be, kept in the user's cache."""
    wanted = project.config
    if wanted.system_packages:
        talk.warn(f"system_packages are not installed here, have them yourself: {', '.join(wanted.system_packages)}")
    if wanted.commands:
        talk.warn("build.run is not executed here; it belongs to images")
    if wanted.weights:
        talk.warn("weights are not fetched here; put them where the model looks for them")
    lock = environment.resolve(wanted, project.root, wanted.python_version, environ=environ, report=talk.say)
    into = settings.cache_home(environ) / "environments"
    return environment.ensure(lock, into, environ=environ, report=talk.say, base=project.root)


def model_environment(
    project: Project, python: Path, environ: Mapping[str, str], extra: Iterable[str]
) -> dict[str, str]:
    """The variables of the model's process: the caller's, cog.yaml's `environment`, `-e KEY=VALUE` last.

    Variables of ours and those that would lead Python astray are left out. Raises UsageError.
    """
    variables = {name: value for name, value in environ.items() if not name.startswith(_PRIVATE)}
    variables |= project.config.variables
    variables |= dict(line.split("=", 1) for line in brought.environment(project.config))
    for pair in extra:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--env is {pair!r}; wanted: NAME=VALUE")
        if name == timeouts.RUN and not timeouts.is_seconds(value):
            raise UsageError(f"--env {name} is {value!r}; wanted: {timeouts.WANTED}")
        variables[name] = value
    variables["PATH"] = os.pathsep.join([str(python.parent), variables.get("PATH", os.defpath)])
    variables["PYTHONPATH"] = os.pathsep.join(box.paths())
    return variables
