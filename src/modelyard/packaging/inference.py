"""The schema of a model that its text does not say: asked of a child process in the model's own environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard.packaging import schema
from modelyard.packaging.schema import Mode, SchemaError, Traits

# The heaviest packages take a minute to import from a slow disk.
SECONDS: Final = 300.0
_LAST_WORDS: Final = 2000
_MODULE: Final = "modelyard_runner.inference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """What importing the model told."""

    document: dict[str, Any]
    traits: Traits


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be imported: `ref` and `train` as for `schema.read`."""

    root: Path
    ref: str
    mode: Mode = "predict"
    train: str | None = None


def infer(
    question: Question,
    unclear: SchemaError,
    python: Path,
    environment: Mapping[str, str],
    *,
    seconds: float = SECONDS,
) -> Inferred:
    """What `schema.read` could not tell (`unclear` says why), by importing the model with `python` and `environment`.

    Raises SchemaError: what importing found wrong, at the place that was unclear where the import itself failed.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-schema-") as folder:
        told = _ask(question, Path(folder), python, environment, seconds)
    if "refused" in told:
        raise SchemaError(told["refused"], file=question.ref.partition(":")[0])
    if "document" not in told:
        where = f" ({told['place']})" if told.get("place") else ""
        said = f"{unclear.reason}; importing the model in its environment failed too: {told['raised']}{where}"
        raise SchemaError(said, file=unclear.file, line=unclear.line, hint=unclear.hint)
    return Inferred(document=told["document"], traits=Traits(**told["traits"]))


def _ask(
    question: Question, folder: Path, python: Path, environment: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    answer, words = folder / "answer.json", folder / "words"
    asked = {
        "root": str(question.root.resolve()),
        "ref": question.ref,
        "mode": question.mode,
        "train": question.train,
        "version": schema.VERSION,
        "answer": str(answer),
    }
    # What it prints goes to a file: a program that it leaves behind may keep a pipe open for ever.
    with words.open("wb") as output:
        process = subprocess.Popen(
            [str(python), "-m", _MODULE, json.dumps(asked)],
            cwd=question.root,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return {"raised": f"it was not done after {seconds:g} seconds"}
        finally:
            _end(process)
    try:
        told: dict[str, Any] = json.loads(answer.read_bytes())
    except (OSError, ValueError):
        return {"raised": f"its process ended with status {status}{_last_words(words)}"}
    return told


def _end(process: subprocess.Popen[bytes]) -> None:
    """Also what it started, and also when we are interrupted."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _last_words(words: Path) -> str:
    lines = words.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return f": {said[-1]}" if said else ""
