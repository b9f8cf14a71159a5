"""The project of the current folder, as the commands that run it here need it: read, checked, with an environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard import handed_on, settings, timeouts
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.packaging import box, brought, config, environment, schema
from modelyard.packaging.config import Config
from modelyard_runner.variables import read as told_by

# Cog's own word for a schema that a build is given.
SCHEMA: Final = "COG_OPENAPI_SCHEMA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder with a cog.yaml: what is needed to run something in its environment."""

    root: Path
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Folder):
    """A model's project. `ref`: its function as `run.py:Runner`; `document`: the OpenAPI document of its schema.

    `mode`: `predict`, or `train` where `ref` is what trains.
    """

    ref: str
    document: Mapping[str, Any]
    concurrency: int
    mode: schema.Mode = "predict"


def locate(cwd: Path, file: str | None, talk: Talk) -> Folder:
    """The folder at or above `cwd`, or that of the cog.yaml named by `file`, its model unread. Raises ConfigError."""
    where = config.find_file(cwd, file) if file else config.find(cwd)
    root = where.parent if file and not where.is_dir() else where
    found = config.load(where)
    for warning in found.warnings:
        talk.warn(warning)
    return Folder(root=root, config=found)


def find(cwd: Path, file: str | None, talk: Talk, *, trainings: bool = False, given: str | None = None) -> Project:
    """Read the project at or above `cwd`, or that of the cog.yaml named by `file`. Raises ConfigError, SchemaError.

    `trainings`: the document says of trainings too. `given`: the file of a document to use instead.
    """
    folder = locate(cwd, file, talk)
    if folder.config.run is None and folder.config.train is not None:
        raise config.ConfigError(
            "cog.yaml names what trains and nothing to run",
            hint='yard train trains here; for predictions add the line: run: "run.py:Runner"',
        )
    train = folder.config.train if trainings else None
    return _read(folder, folder.config.run, "predict", train=train, given=given)


def find_served(cwd: Path, file: str | None, talk: Talk) -> Project:
    """The same for a server: the document says of trainings too; a project that only trains is served to train."""
    folder = locate(cwd, file, talk)
    run, train = folder.config.run, folder.config.train
    if run is None and train is not None:
        return _read(folder, train, "train")
    return _read(folder, run, "predict", train=train)


def find_trainer(cwd: Path, file: str | None, talk: Talk) -> Project:
    """The same for what `train` of cog.yaml names. Raises ConfigError, SchemaError."""
    folder = locate(cwd, file, talk)
    if folder.config.train is None:
        raise config.ConfigError("cog.yaml names nothing that trains", hint='add the line: train: "train.py:train"')
    return _read(folder, folder.config.train, "train")


def _read(
    folder: Folder, ref: str | None, mode: schema.Mode, *, train: str | None = None, given: str | None = None
) -> Project:
    document = (_given_schema(mode, given) if ref else None) or schema.read(folder.root, ref, mode, train=train)
    assert ref is not None  # noqa: S101 - the schema of nothing is refused
    traits = schema.read_traits(folder.root, ref, mode)
    wanted = folder.config.concurrency
    if mode == "predict" and wanted is not None and wanted > 1 and not traits.is_async:
        raise config.ConfigError(
            f'invalid concurrency.max "{wanted}": concurrency.max > 1 requires an async run() or predict() method',
            hint=f"write `async def {traits.method}`, or take concurrency.max out of cog.yaml",
        )
    # What a model's variables say of this comes before all else.
    concurrency = told_by(folder.config.variables).concurrency or wanted or traits.concurrency
    return Project(
        root=folder.root, config=folder.config, ref=ref, document=document, concurrency=concurrency, mode=mode
    )


def _given_schema(mode: schema.Mode, given: str | None) -> dict[str, Any] | None:
    """The document that somebody wants instead of the one that the source gives. Raises ConfigError."""
    name, path = ("--openapi-schema", given) if given else (SCHEMA, settings.environment().get(SCHEMA))
    if not path:
        return None
    try:
        document = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is no JSON: {error}"
        raise config.ConfigError(
            f"{name}: failed to read {path}: {reason}", hint=f"without {name} the schema is read from the source"
        ) from None
    parts = ("TrainingInput", "TrainingOutput") if mode == "train" else ("Input", "Output")
    try:
        complete = all(isinstance(document["components"]["schemas"][part], dict) for part in parts)
    except (LookupError, TypeError):
        complete = False
    if not complete:
        raise config.ConfigError(
            f"{name}: failed to read {path}: no OpenAPI document with {' and '.join(parts)} in components.schemas",
            hint="GET /openapi.json of `yard serve` is one",
        )
    return dict(document)


def prepare(project: Folder, environ: Mapping[str, str], talk: Talk) -> Path:
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


def check_variables(extra: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`-e NAME=VALUE` by name; `-e NAME` has the value that `environ` has for it. Raises UsageError."""
    variables = {}
    for pair in extra:
        name, equals, value = pair.partition("=")
        if not name:
            raise UsageError(f"--env is {pair!r}; wanted: NAME=VALUE, or NAME for its value here")
        if not equals and name not in environ:
            raise UsageError(
                f"--env is {pair!r}, and there is no variable {name} here; wanted: NAME=VALUE, or NAME for its value"
                " here",
                hint=f"-e {name}= makes it empty",
            )
        value = value if equals else environ[name]
        if name == timeouts.RUN and not timeouts.is_seconds(value):
            raise UsageError(f"--env {name} is {value!r}; wanted: {timeouts.WANTED}")
        variables[name] = value
    return variables


def model_environment(
    project: Folder,
    python: Path,
    environ: Mapping[str, str],
    extra: Iterable[str],
    flags: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables of the model's process. Raises UsageError.

    They are what of the caller's describes this machine, `environment` of cog.yaml, what flags mean, and `-e` last.
    """
    variables = handed_on.personal(environ)
    variables |= project.config.variables
    variables |= dict(line.split("=", 1) for line in brought.environment(project.config))
    variables |= flags or {}
    variables |= check_variables(extra, environ)
    variables["PATH"] = os.pathsep.join([str(python.parent), variables.get("PATH", os.defpath)])
    variables["PYTHONPATH"] = os.pathsep.join(box.paths())
    return variables
