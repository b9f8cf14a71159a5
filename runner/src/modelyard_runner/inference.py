"""The schema of a model by importing it, for one whose text does not say it: run in the model's environment, once.

`python -m modelyard_runner.inference JSON` imports the model, makes its object, and calls neither its setup nor
anything else of it; what came of it stands as JSON in the file that it is told.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import cog.reflection
from modelyard_runner import loader
from modelyard_runner.loader import Function, LoadError, Model


def tell(asked: dict[str, Any]) -> dict[str, Any]:
    """The schema and how the model may be called; or why it has no schema, or what its own code raised."""
    root = Path(asked["root"])
    try:
        return _read(asked, root)
    except (cog.reflection.SchemaError, LoadError) as error:
        return {"refused": str(error)}
    except BaseException as error:
        return {"raised": _short(error), "place": _place(error, root)}


def _read(asked: dict[str, Any], root: Path) -> dict[str, Any]:
    ref, training, train_ref = asked["ref"], asked["mode"] == "train", asked["train"]
    model = loader.load(ref, root, train=training)
    run = None if training else _there(model.run, "run or predict", ref)
    train = _there(model.train, "train", ref) if training else None
    if train_ref is not None:
        train = _there(loader.load(train_ref, root, train=True).train, "train", train_ref)
    document = cog.reflection.openapi(
        None if run is None else run.call,
        None if train is None else train.call,
        streaming=run is not None and model.streaming,
        version=asked["version"],
    )
    return {"document": document, "traits": _traits(model, run or train)}


def _there(function: Function | None, wanted: str, ref: str) -> Function:
    if function is None:
        raise LoadError(f"{wanted} method not found: {ref}")
    return function


def _traits(model: Model, main: Function | None) -> dict[str, Any]:
    call = main.call if main is not None else None
    owner = getattr(call, "__self__", None)
    batch = model.batch if main is model.run else None
    return {
        "method": getattr(call, "__name__", ""),
        "owner": "" if owner is None else (owner if isinstance(owner, type) else type(owner)).__name__,
        "concurrency": model.concurrency if batch is None else batch.slots,
        "streaming": model.streaming,
        "is_async": main is not None and main.is_async,
        "batched": batch is not None,
        "train": model.train is not None,
    }


def _short(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _place(error: BaseException, root: Path) -> str:
    """The last line of the project that the error passed."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(root) and "site-packages" not in path.parts:
            return f"{path.relative_to(root).as_posix()}:{frame.lineno}"
    return ""


def main() -> None:
    asked = json.loads(sys.argv[1])
    sys.argv[1:] = []  # a module that reads its arguments finds none
    told = json.dumps(tell(asked), allow_nan=False)
    Path(asked["answer"]).write_text(told, encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that importing has started would keep it alive


if __name__ == "__main__":
    main()
