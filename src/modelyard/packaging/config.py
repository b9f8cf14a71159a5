"""`cog.yaml`: found, read and checked; every fault with its line, all of them at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard import errors
from modelyard.packaging.config_source import reader, tree
from modelyard.packaging.config_source.collector import Problem
from modelyard.packaging.config_source.records import Command, Mount, Source, Weight

__all__ = ["FILE", "Command", "Config", "ConfigError", "Mount", "Problem", "Source", "Weight", "find", "load", "parse"]

FILE: Final = "cog.yaml"
# Where a project keeps what can be made again at any time.
CACHE: Final = ".cog/cog.yaml.json"
MAX_LEVELS: Final = 100


class ConfigError(errors.ModelyardError):
    """cog.yaml is missing or wrong; `problems` has every fault, in the order of the file."""

    status = 422
    code = "config_invalid"
    title = "cog.yaml is not valid"

    def __init__(self, detail: str, *, problems: tuple[Problem, ...] = (), hint: str | None = None) -> None:
        self.problems = problems
        super().__init__(detail, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What cog.yaml says. `python_version` is a minor ("3.12"): what is written, else the one that runs this.

    `run` is the reference of the model ("run.py:Runner", also where the file says `predict`), `train` that of training.
    `patch` is the version as it is written, where that names a patch too ("3.12.4").
    `concurrency` is None where the file says nothing: then the model's `@concurrent` counts.
    `environment`: `KEY=VALUE`. `warnings`: sentences for whoever loads it.
    """

    python_version: str
    patch: str | None = None
    run: str | None = None
    train: str | None = None
    gpu: bool = False
    cuda: str | None = None
    cudnn: str | None = None
    python_requirements: str | None = None
    python_packages: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    sdk_version: str | None = None
    image: str | None = None
    model: str | None = None
    concurrency: int | None = None
    environment: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def variables(self) -> Mapping[str, str]:
        """`environment` by name."""
        return {name: value for name, _, value in (line.partition("=") for line in self.environment)}

    def to_json(self) -> dict[str, Any]:
        """The value of the label `run.cog.config`: what is set, under the names that other tools read."""
        build = {
            "gpu": self.gpu or None,
            "python_version": self.patch or self.python_version,
            "python_requirements": self.python_requirements,
            "python_packages": list(self.python_packages),
            "run": [command.to_json() for command in self.commands],
            "system_packages": list(self.system_packages),
            "cuda": self.cuda,
            "cudnn": self.cudnn,
            "sdk_version": self.sdk_version,
        }
        whole = {
            "build": _present(build),
            "image": self.image,
            "model": self.model,
            "predict": self.run,
            "train": self.train,
            "concurrency": None if self.concurrency is None else {"max": self.concurrency},
            "environment": list(self.environment),
            "weights": [weight.to_json() for weight in self.weights],
        }
        return _present(whole)


def find(start: Path) -> Path:
    """The folder at or above `start` that has a cog.yaml: the project. Raises ConfigError."""
    return _upwards(start, FILE, Path.is_file, "yard init makes one").parent


def find_file(start: Path, name: str) -> Path:
    """What `name` means in the folder `start`: what is there, else what is above. Raises ConfigError."""
    hint = f"-f names the {FILE} to use; without it the nearest one upwards is"
    if Path(name).is_absolute():
        if not Path(name).exists():
            raise ConfigError(f"{name} not found", hint=hint)
        return Path(name)
    return _upwards(start, name, Path.exists, hint)


def _upwards(start: Path, name: str, is_it: Callable[[Path], bool], hint: str) -> Path:
    folder = start.absolute()
    for candidate in [folder, *folder.parents][:MAX_LEVELS]:
        if is_it(candidate / name):
            return candidate / name
    raise ConfigError(f"{name} not found in {folder} (or in any parent directories)", hint=hint)


def load(project: Path, *, default_python: str | None = None) -> Config:
    """The checked configuration of a project: a folder with a cog.yaml, or that file by any name.

    `default_python`: the minor where the file names none; by default the one that runs this. Raises ConfigError.
    """
    path = project / FILE if project.is_dir() else project
    try:
        text = path.read_bytes()
    except OSError as error:
        reason = (
            f"{FILE} not found in {project}" if isinstance(error, FileNotFoundError) else f"{path}: {error.strerror}"
        )
        raise ConfigError(reason, hint="yard init makes one") from None
    return parse(text, root=path.parent, name=path.name, cache=path.parent / CACHE, default_python=default_python)


def parse(
    text: bytes, *, root: Path, name: str = FILE, cache: Path | None = None, default_python: str | None = None
) -> Config:
    """The checked configuration in `text`; files that it names are looked for in `root`. Raises ConfigError."""
    try:
        document = tree.parse(text, cache=cache)
    except tree.YamlError as error:
        problem = Problem(line=error.line, key="", reason=f"failed to parse {name}: invalid YAML: {error.detail}")
        raise _error(name, [problem]) from None
    values, problems, warnings = reader.read(document, root)
    if problems:
        raise _error(name, problems)
    values.setdefault("python_version", default_python or f"{sys.version_info.major}.{sys.version_info.minor}")
    said = tuple(f"{name}:{warning.line}: {warning.reason}" for warning in warnings)
    return Config(**values, warnings=said)


def _error(name: str, problems: list[Problem]) -> ConfigError:
    """One text with a line for each problem; a single hint is the error's own."""
    ordered = tuple(sorted(problems, key=lambda problem: problem.line))
    if len(ordered) == 1:
        return ConfigError(f"{name}:{ordered[0].text}", problems=ordered, hint=ordered[0].hint or None)
    lines = []
    for problem in ordered:
        lines.append(f"{name}:{problem.text}")
        lines += [f"  hint: {problem.hint}"] if problem.hint else []
    return ConfigError("\n".join(lines), problems=ordered)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [], {})}
