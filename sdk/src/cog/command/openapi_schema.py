"""`python -m cog.command.openapi_schema` prints the schema of the model in this folder, which is imported for it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from cog import loading, reflection
from cog.predictor import STREAMING
from cog.suppress_output import suppress_output


def schema(folder: Path) -> dict[str, Any]:
    """The OpenAPI document of the model and the training that the environment, else cog.yaml, names.

    Raises LoadError where nothing is named, SchemaError for what has no schema.
    """
    ref = _named("COG_PREDICT_TYPE_STUB", ("run", "predict"), folder)
    train_ref = _named("COG_TRAIN_TYPE_STUB", ("train",), folder)
    if ref is None and train_ref is None:
        raise loading.LoadError(f'cog.yaml in {folder} names no model; add the line: run: "run.py:Runner"')
    sys.path.insert(0, str(folder))
    run = None if ref is None else _function(ref, folder)
    train = None if train_ref is None else _function(train_ref, folder, training=True)
    return reflection.openapi(run, train, streaming=bool(getattr(run, STREAMING, False)))


def _named(variable: str, keys: tuple[str, ...], folder: Path) -> str | None:
    """A reference; in cog.yaml it is a line of its own at the margin, so no reader of YAML is needed."""
    if os.environ.get(variable):
        return os.environ[variable]
    try:
        text = (folder / "cog.yaml").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^(?:{'|'.join(keys)})[ \t]*:[ \t]*[\"']?([^\s\"'#]+\.py(?::\w+)?)", text, re.MULTILINE)
    return found[1] if found else None


def _function(ref: str, folder: Path, *, training: bool = False) -> Any:
    target = loading.load(ref, folder)
    if not isinstance(target, type):
        return target
    model = target()
    found = getattr(model, "train", None) if training else loading.method(model)
    if found is None:
        raise loading.LoadError(f"{'train' if training else 'run or predict'} method not found: {target.__name__}")
    return found


def main() -> None:
    """Print it, and nothing that the model prints."""
    try:
        with suppress_output():
            found = schema(Path.cwd())
    except (loading.LoadError, reflection.SchemaError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
