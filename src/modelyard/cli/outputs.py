"""From the output of a prediction to stdout and files, as `yard run` gives them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard.cli import media_types, talk
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, UsageError

DEFAULT_NAME = "output"
TRAINED_NAME = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that a model made: where it lies, and the name and media type that it goes by."""

    path: Path
    name: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a prediction ended. `files`: for each string in `output` that stands for a file, the file."""

    status: str
    output: Any = None
    error: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, OutputFile] = field(default_factory=dict)


class UnwritableError(ModelyardError):
    """The place that the output should go to cannot be written."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What output files are called: `stem` without, `suffix` with its dot or "" (then each file's own)."""

    stem: Path
    suffix: str

    def path(self, place: tuple[str, ...], extension: str) -> Path:
        return self.stem.with_name(".".join([self.stem.name, *place]) + (self.suffix or extension))


def check_target(wanted: str | None, cwd: Path) -> None:
    """Fail before the model runs where its output could not be written afterwards. Raises UnwritableError."""
    if wanted is None:
        return
    path = _path_of(wanted, cwd)
    # What ends with a slash is meant to be a folder.
    folder = path if path.is_dir() or wanted.endswith("/") else path.parent
    if not folder.is_dir():
        raise UnwritableError(f"Output path is not writable: {folder} is no folder", hint=f"mkdir -p {folder}")


def show(
    outcome: Outcome, wanted: str | None, talk_: Talk, *, as_json: bool, cwd: Path, hint: str | None = None
) -> int:
    """Print or write the outcome; gives the exit status. `wanted`: what followed `-o`; `hint`: if it has failed."""
    if as_json:
        return _show_json(outcome, wanted, talk_, cwd)
    if outcome.status != "succeeded":
        talk_.error(f'Prediction failed with status "{outcome.status}": {outcome.error}'.removesuffix(": "), hint)
        return 1
    if outcome.output is None:
        talk_.warn("No output generated")
        return 0
    value = _write_files(outcome, _target(wanted, cwd), talk_)
    if not _is_files(outcome.output, outcome.files):
        _write_text(_text_of(value), wanted, talk_, cwd)
    return 0


def set_aside(outcome: Outcome, folder: Path) -> Outcome:
    """The same with its files in `folder`, where they outlive the model's worker."""
    files = {}
    for number, (ref, file) in enumerate(outcome.files.items()):
        files[ref] = replace(file, path=Path(shutil.move(file.path, folder / str(number))))
    return replace(outcome, files=files)


def keep(outcome: Outcome, wanted: str, talk_: Talk, cwd: Path) -> int:
    """Write what a training gave, to a file whatever it is; gives the exit status. `wanted`: what followed `-o`.

    A file goes by its own extension unless `wanted` has one, a text is written as it is, all else as JSON.
    """
    if outcome.status != "succeeded":
        talk_.error(f'Training failed with status "{outcome.status}": {outcome.error}'.removesuffix(": "))
        return 1
    if isinstance(outcome.output, str) and outcome.output in outcome.files:
        _write_files(outcome, _target(wanted, cwd, TRAINED_NAME), talk_)
    elif outcome.output is None:
        talk_.warn("No output generated")
    else:
        _write_text(_text_of(_inlined(outcome.output, outcome.files)), wanted, talk_, cwd, default=TRAINED_NAME)
    return 0


def _inlined(value: Any, files: Mapping[str, OutputFile]) -> Any:
    """The output with data URLs in the place of what stood for files."""
    if isinstance(value, str) and value in files:
        return media_types.data_url(files[value].content_type, files[value].path.read_bytes())
    if isinstance(value, list):
        return [_inlined(item, files) for item in value]
    if isinstance(value, dict):
        return {key: _inlined(item, files) for key, item in value.items()}
    return value


def _show_json(outcome: Outcome, wanted: str | None, talk_: Talk, cwd: Path) -> int:
    if wanted and not wanted.endswith(".json"):
        talk_.warn(f"--output value does not have a .json suffix: {wanted}")
    base = None if wanted is None else wanted.removesuffix(".json")
    value = _write_files(outcome, _target(base, cwd), talk_)
    document = {"status": outcome.status, "output": value, "error": outcome.error}
    if outcome.metrics:
        document["metrics"] = outcome.metrics
    _write_text(json.dumps(document, indent=2, ensure_ascii=False), wanted, talk_, cwd, default="output.json")
    return 0 if outcome.status == "succeeded" else 1


def _write_files(outcome: Outcome, target: _Target, talk_: Talk) -> Any:
    """The output with the paths of the files written in the place of what stood for them."""

    def written(value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, str) and value in outcome.files:
            return _write_file(outcome.files[value], target, place, talk_)
        if isinstance(value, list):
            return [written(item, (*place, str(index))) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: written(item, (*place, _plain(key))) for key, item in value.items()}
        return value

    return written(outcome.output, ()) if outcome.files else outcome.output


def _write_file(file: OutputFile, target: _Target, place: tuple[str, ...], talk_: Talk) -> str:
    path = target.path(place, media_types.extension(file.content_type, file.name))
    if path.is_dir():
        raise UnwritableError(f'Default output name "{path.name}" conflicts with directory, provide --output')
    try:
        shutil.copyfile(file.path, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    talk_.say(f"Written output to: {_shown(path)}")
    return _shown(path)


def _plain(key: str) -> str:
    """A key of the model's making as a part of a file's name."""
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in key)[:60]


def _is_files(value: Any, files: Mapping[str, OutputFile]) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_files(item, files) for item in value)
    return isinstance(value, str) and value in files


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _write_text(text: str, wanted: str | None, talk_: Talk, cwd: Path, *, default: str = DEFAULT_NAME) -> None:
    if wanted is None:
        talk.result(text)
        return
    path = _path_of(wanted, cwd)
    path = path / default if path.is_dir() else path
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from None
    talk_.say(f"Written output to: {_shown(path)}")


def _target(wanted: str | None, cwd: Path, default: str = DEFAULT_NAME) -> _Target:
    path = cwd / default if wanted is None else _path_of(wanted, cwd)
    if wanted is not None and path.is_dir():
        path = path / default
    # `v1.2` names a version, not a kind of file.
    suffix = "" if path.suffix[1:].isdigit() else path.suffix
    return _Target(path.with_name(path.name.removesuffix(suffix)), suffix)


def _path_of(wanted: str, cwd: Path) -> Path:
    text = wanted.removeprefix("@")
    if not text:
        raise UsageError("--output is empty; wanted: the name of a file or folder")
    return cwd / Path(text).expanduser()


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _unwritable(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(f"Output path is not writable: {_shown(path)}: {error.strerror or error}")
