"""Functions that `cog.predictor` had in Cog up to 0.16, for tools that load and describe a model themselves.

There they gave pydantic's models; here types are the annotations themselves, and an input type is a class that fills in
what a call leaves out and checks nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cog import loading, reflection, weights
from cog.base_input import BaseInput
from cog.types import File, URLPath
from cog.types import Path as CogPath


def load_predictor_from_ref(ref: str) -> Any:
    """The model that `file.py:Name` names, relative to the current folder: an object of the class, or the function."""
    found = loading.load(ref, Path.cwd())
    return found() if isinstance(found, type) else found


def get_predict(predictor: Any) -> Callable[..., Any]:
    """What answers predictions: `run` or `predict` of an object, or the function itself. Raises LoadError."""
    found = loading.method(predictor)
    if found is not None:
        return found  # type: ignore[no-any-return]
    if inspect.isroutine(predictor):
        return predictor
    raise loading.LoadError(f"run or predict method not found: {type(predictor).__name__}")


def get_train(predictor: Any) -> Callable[..., Any]:
    """What trains: `train` of an object, or the function itself."""
    found: Callable[..., Any] = getattr(predictor, "train", predictor)
    return found


def get_healthcheck(predictor: Any) -> Callable[..., Any] | None:
    """The model's own check of its health, where it has one."""
    return getattr(predictor, "healthcheck", None)


def get_input_type(predictor: Any) -> type[BaseInput]:
    """A class of the model's inputs by name. Raises TypeError where it is called without a required one."""
    return _input_type("Input", get_predict(predictor))


def get_training_input_type(predictor: Any) -> type[BaseInput]:
    """The same for a training."""
    return _input_type("TrainingInput", get_train(predictor))


def get_output_type(predictor: Any) -> Any:
    """What the model says it returns."""
    return _output_type(get_predict(predictor))


def get_training_output_type(predictor: Any) -> Any:
    """What the training says it returns."""
    return _output_type(get_train(predictor))


def _input_type(name: str, function: Callable[..., Any]) -> type[BaseInput]:
    fields = reflection.signature(function).fields

    class Input(BaseInput):
        def __init__(self, **values: Any) -> None:
            missing = [field.name for field in fields if not field.omittable and field.name not in values]
            if missing:
                raise TypeError(f"missing inputs: {', '.join(missing)}")
            super().__init__(**{field.name: field.default for field in fields if field.omittable} | values)

    Input.__name__ = Input.__qualname__ = name
    Input.__annotations__ = {field: hint for field, hint in loading.hints(function).items() if field != "return"}
    return Input


def _output_type(function: Callable[..., Any]) -> Any:
    found = inspect.signature(function).return_annotation
    if found is inspect.Signature.empty:
        raise TypeError("the function says nothing about what it returns; add a return type, as `-> str`")
    return loading.hints(function).get("return", found)


def has_setup_weights(predictor: Any) -> bool:
    """Whether its `setup` takes `weights`."""
    return hasattr(predictor, "setup") and "weights" in loading.parameters(predictor.setup)


def extract_setup_weights(predictor: Any) -> Any:
    """What `setup(weights=…)` is to receive: `COG_WEIGHTS` by its annotation, or the `weights` beside the model."""
    annotation = loading.hints(predictor.setup).get("weights")
    return weights.given(annotation, os.environ.get("COG_WEIGHTS"), _fetched)


def _fetched(value: str) -> str:
    found = CogPath.validate(value)
    return str(found.convert() if isinstance(found, URLPath) else found)


def run_setup(predictor: Any) -> None:
    """Call the model's `setup`, with its weights where it takes some; an async one is run to its end."""
    result = _setup(predictor)
    if inspect.isawaitable(result):
        asyncio.run(_finished(result))


async def run_setup_async(predictor: Any) -> None:
    """The same where an event loop runs already."""
    result = _setup(predictor)
    if inspect.isawaitable(result):
        await result


def _setup(predictor: Any) -> Any:
    if not hasattr(predictor, "setup"):
        return None
    return predictor.setup(extract_setup_weights(predictor)) if has_setup_weights(predictor) else predictor.setup()


async def _finished(result: Any) -> None:
    await result


def get_weights_type(setup_function: Callable[..., Any]) -> Any:
    """What `setup` says its `weights` are: Path, File, str, or None."""
    found = loading.hints(setup_function).get("weights")
    members = getattr(found, "__args__", ())
    return next((kind for kind in (CogPath, File, str) if kind in members), found)
