"""From `run.py:Runner` to something that can be called: the model's module, its object and its functions."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cog.batching
import cog.loading
import cog.predictor
import cog.reflection
from cog.loading import LoadError
from cog.shapes import Batch, SchemaError

__all__ = ["Function", "LoadError", "Model", "load"]

_COROUTINE = 0x80  # CO_COROUTINE and CO_ASYNC_GENERATOR of a code object; `inspect` would cost milliseconds
_ASYNC_GENERATOR = 0x200


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the model that predictions or trainings call. `output`: the type that it says it returns."""

    call: Callable[..., Any]
    signature: Any
    is_async: bool
    output: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model. `setup` is bound, and takes `weights` when `wants_weights`.

    `trainer`: loads what trains where that stands elsewhere; predictions need not wait for it.
    """

    run: Function | None
    train: Function | None
    setup: Callable[..., Any] | None
    weights_type: Any
    wants_weights: bool
    healthcheck: Callable[[], Any] | None
    concurrency: int
    streaming: bool
    batch: Batch | None = None
    trainer: Callable[[], Function] | None = None

    def schema(self) -> dict[str, Any]:
        """The OpenAPI document of its functions."""
        run = None if self.run is None else self.run.call
        train = None if self.train is None else self.train.call
        return cog.reflection.openapi(run, train, streaming=self.streaming)


def load(ref: str, root: Path, *, train: bool = False) -> Model:
    """The model that `ref` (`file.py:Name`, or `file.py`) names in folder `root`, which becomes the current folder.

    `train`: a plain function is the training function. Raises LoadError, and whatever the model's module raises.
    """
    file, _, name = ref.partition(":")
    os.chdir(root)
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))
    target = cog.loading.load(ref, root)
    if isinstance(target, type):
        return _from_class(target())
    if callable(target):
        return _model(None, target, None, None) if train else _model(target, None, None, None)
    raise LoadError(f"{name} in {file} is neither a class nor a function")


def _from_class(target: Any) -> Model:
    cls = type(target)
    run = cog.loading.method(target)
    train = getattr(target, "train", None)
    if run is None and not callable(train):
        raise LoadError(f"run or predict method not found: {cls.__name__}")
    if issubclass(cls, cog.predictor.BasePredictor):
        warnings.warn("BasePredictor is deprecated; use BaseRunner instead", DeprecationWarning, stacklevel=1)
    setup = target.setup if cog.loading.defines(cls, "setup") else None
    return _model(run, train, setup, getattr(target, "healthcheck", None))


def _model(run: Any, train: Any, setup: Any, healthcheck: Any) -> Model:
    if hasattr(train, "__cog_batch__"):
        raise SchemaError(cog.batching.ON_TRAIN)
    hints = cog.loading.hints(setup) if setup is not None else {}
    return Model(
        run=_function(run),
        train=_function(train),
        setup=setup,
        wants_weights=setup is not None and "weights" in cog.loading.parameters(setup),
        weights_type=hints.get("weights"),
        healthcheck=healthcheck if callable(healthcheck) else None,
        concurrency=getattr(run, "__cog_concurrent_max__", 1),
        streaming=bool(getattr(run, "__cog_streaming__", False)),
        batch=getattr(run, "__cog_batch__", None),
    )


def _function(call: Any) -> Function | None:
    if call is None:
        return None
    signature, output = cog.reflection.signature(call), cog.reflection.output(call)
    return Function(call=call, signature=signature, is_async=_is_async(call), output=output)


def _is_async(call: Any) -> bool:
    while hasattr(call, "func") and not hasattr(call, "__code__"):  # a partial
        call = call.func
    code = getattr(getattr(call, "__func__", call), "__code__", None)
    if code is None:
        code = getattr(getattr(type(call), "__call__", None), "__code__", None)  # noqa: B004 - an object that is called
    return code is not None and bool(code.co_flags & (_COROUTINE | _ASYNC_GENERATOR))
