"""The project of the current folder, as the commands that run it here need it: read, checked, with an environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard import handed_on, settings, timeouts
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.packaging import box, brought, config, environment, schema
from modelyard.packaging.config import Config
from modelyard_runner.variables import CONCURRENCY
from modelyard_runner.variables import read as told_by

# Cog's own word for a schema that a build is given.
SCHEMA: Final = "COG_OPENAPI_SCHEMA"
_REQUIREMENTS: Final = "requirements.txt"
# Modules whose packages have other names.
_PACKAGES: Final = {
    "PIL": "Pillow",
    "cv2": "opencv-python-headless",
    "pkg_resources": "setuptools<81",
    "sklearn": "scikit-learn",
}


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
        talk.once(f"{talk.paint('warning:', 'yellow')} {warning}")
    return Folder(root=root, config=found)


def told(found: Folder) -> dict[str, str]:
    """What `python -m cog.server.http` goes by; in an image of a build it stands in the image."""
    said = {
        "COG_PREDICT_TYPE_STUB": found.config.run,
        "COG_TRAIN_TYPE_STUB": found.config.train,
        CONCURRENCY: found.concurrency if isinstance(found, Project) else _asked_concurrency(found.config),
    }
    return {name: str(value) for name, value in said.items() if value}


def find(
    cwd: Path,
    file: str | None,
    talk: Talk,
    *,
    trainings: bool = False,
    variables: Sequence[str] = (),
    given: str | None = None,
) -> Project:
    """Read the project at or above `cwd`, or that of the cog.yaml named by `file`. Raises ConfigError, SchemaError.

    `trainings`: the document says of trainings too. `variables`: `-e` for a model that has to be asked. `given`: the
    file of a document to use instead.
    """
    folder = locate(cwd, file, talk)
    if folder.config.run is None and folder.config.train is not None:
        raise config.ConfigError(
            "cog.yaml names what trains and nothing to run",
            hint='yard train trains here; for predictions add the line: run: "run.py:Runner"',
        )
    train = folder.config.train if trainings else None
    return _read(folder, (folder.config.run, "predict", train), talk, variables, given)


def find_served(cwd: Path, file: str | None, talk: Talk, variables: Sequence[str] = ()) -> Project:
    """The same for a server: the document says of trainings too; a project that only trains is served to train."""
    folder = locate(cwd, file, talk)
    run, train = folder.config.run, folder.config.train
    if run is None and train is not None:
        return _read(folder, (train, "train", None), talk, variables)
    return _read(folder, (run, "predict", train), talk, variables)


def find_trainer(cwd: Path, file: str | None, talk: Talk, variables: Sequence[str] = ()) -> Project:
    """The same for what `train` of cog.yaml names. Raises ConfigError, SchemaError."""
    folder = locate(cwd, file, talk)
    if folder.config.train is None:
        raise config.ConfigError("cog.yaml names nothing that trains", hint='add the line: train: "train.py:train"')
    return _read(folder, (folder.config.train, "train", None), talk, variables)


def _read(
    folder: Folder,
    asked: tuple[str | None, schema.Mode, str | None],
    talk: Talk,
    variables: Sequence[str],
    given: str | None = None,
) -> Project:
    ref, mode, train = asked
    document = _given_schema(mode, given) if ref else None
    environ = settings.environment()
    newer = environment.parser(folder.config, folder.root, environ, talk.say)
    former = brought.throughout(folder.config)
    try:
        document = document or schema.read(folder.root, ref, mode, train=train, newer=newer, former=former)
        assert ref is not None  # noqa: S101 - the schema of nothing is refused
        traits = schema.read_traits(folder.root, ref, mode, newer=newer)
    except schema.SchemaError as error:
        if ref is None or error.runnable not in ("always", "former" if former else "always"):
            raise
        imported, traits = _imported(folder, (ref, mode, train), error, variables, talk)
        document = document or imported
    if mode == "predict" and traits.method == "predict" and traits.owner:
        talk.once(f"cog: warning: {traits.owner}.predict() is deprecated; use run() instead")
    return Project(
        root=folder.root,
        config=folder.config,
        ref=ref,
        document=document,
        concurrency=_concurrency(folder.config, traits, mode),
        mode=mode,
    )


def _imported(
    folder: Folder,
    asked: tuple[str, schema.Mode, str | None],
    unclear: schema.SchemaError,
    variables: Sequence[str],
    talk: Talk,
) -> tuple[dict[str, Any], schema.Traits]:
    """What the model says when it is imported where it runs. Raises SchemaError."""
    # Only these projects pay for what it needs.
    from modelyard.packaging import inference

    talk.say(f"The schema could not be read from source ({unclear}); read by importing it in the model's environment")
    environ = settings.environment()
    python = _environment(folder, environ, talk)
    ref, mode, train = asked
    question = inference.Question(root=folder.root, ref=ref, mode=mode, train=train)
    try:
        found = inference.infer(question, unclear, python, model_environment(folder, python, environ, variables))
    except schema.SchemaError as error:
        error.hint = missing_package(error.reason, folder) or error.hint
        raise
    return found.document, found.traits


def _concurrency(wanted: Config, traits: schema.Traits, mode: schema.Mode) -> int:
    maximum = wanted.concurrency
    if maximum is not None and traits.batched:
        raise config.ConfigError(
            f'invalid concurrency.max "{maximum}": {traits.method}() is marked @batch, which says itself how many'
            " predictions it takes at once",
            hint="take concurrency.max out of cog.yaml",
        )
    if mode == "predict" and maximum is not None and maximum > 1 and not traits.is_async:
        raise config.ConfigError(
            f'invalid concurrency.max "{maximum}": concurrency.max > 1 requires an async run() or predict() method',
            hint=f"write `async def {traits.method}`, or take concurrency.max out of cog.yaml",
        )
    return _asked_concurrency(wanted) or traits.concurrency


def _asked_concurrency(wanted: Config) -> int | None:
    # What a model's variables say of this comes before all else.
    return told_by(wanted.variables).concurrency or wanted.concurrency


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
    """The Python of an environment with the project's packages, made now if need be, kept in the user's cache.

    Raises OutOfSyncError, NotCachedError where its weights are not ready.
    """
    wanted = project.config
    if wanted.system_packages:
        talk.warn(f"system_packages are not installed here, have them yourself: {', '.join(wanted.system_packages)}")
    if wanted.commands:
        talk.warn("build.run is not executed here; it belongs to images")
    if wanted.weights:
        from modelyard.cli import mounted  # only weights pay for it

        mounted.check(project.root, wanted, environ)
    return _environment(project, environ, talk)


def _environment(project: Folder, environ: Mapping[str, str], talk: Talk) -> Path:
    wanted = project.config
    lock = environment.resolve(wanted, project.root, wanted.python_version, environ=environ, report=talk.say)
    into = settings.cache_home(environ) / "environments"
    return environment.ensure(lock, into, environ=environ, report=talk.say, base=project.root)


def missing_package(error: str | None, project: Folder) -> str | None:
    """What to do about a module that is not there, the mistake of everybody's first model."""
    missing = re.search(r"No module named '([^'.]+)", error or "")
    if missing is None:
        return None
    package = _PACKAGES.get(missing[1])
    named = project.config.python_requirements
    if named is None and (project.root / _REQUIREMENTS).is_file():
        return f"{_REQUIREMENTS} is here, but cog.yaml does not name it: build.python_requirements: {_REQUIREMENTS}"
    where = named or f"{_REQUIREMENTS}, and that file in cog.yaml as build.python_requirements"
    if package:
        return f"{missing[1]} comes with {package}: name that in {where}"
    return f"if {missing[1]} comes with a package, name that package in {where}"


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
