"""From `run.py:Runner` to something that can be called: the model's module, its object and its functions."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import typing
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cog.predictor
import cog.schema
import cog.types

_COROUTINE = 0x80  # CO_COROUTINE and CO_ASYNC_GENERATOR of a code object; `inspect` would cost milliseconds
_ASYNC_GENERATOR = 0x200
_DEFAULT_NAMES = ("Runner", "Predictor")


class LoadError(Exception):
    """The reference names nothing that can be a model. The text says what was looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the model that predictions or trainings call."""

    call: Callable[..., Any]
    signature: Any
    is_async: bool


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
    trainer: Callable[[], Function] | None = None

    def schema(self) -> dict[str, Any]:
        """The OpenAPI document of its functions."""
        run = None if self.run is None else self.run.call
        train = None if self.train is None else self.train.call
        return cog.schema.openapi(run, train, streaming=self.streaming)


def load(ref: str, root: Path, *, train: bool = False) -> Model:
    """The model that `ref` (`file.py:Name`, or `file.py`) names in folder `root`, which becomes the current folder.

    `train`: a plain function is the training function. Raises LoadError, and whatever the model's module raises.
    """
    file, _, name = ref.partition(":")
    os.chdir(root)
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))
    module = _import(root / file)
    target = _target(module, name)
    if isinstance(target, type):
        return _from_class(target())
    if callable(target):
        return _model(None, target, None, None) if train else _model(target, None, None, None)
    raise LoadError(f"{name} in {file} is neither a class nor a function")


def _import(path: Path) -> types.ModuleType:
    """Executes a file as a module under its own name, whatever else has that name; once, if it is that one already."""
    if not path.is_file():
        raise LoadError(f"{path.name} not found in {path.parent}")
    present = sys.modules.get(path.stem)
    if present is not None and getattr(present, "__file__", None) == str(path):
        return present
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(path.stem, None)
        raise
    return module


def _target(module: types.ModuleType, name: str) -> Any:
    if name:
        if not hasattr(module, name):
            raise LoadError(f"{name} not found in {module.__name__}.py")
        return getattr(module, name)
    found = [candidate for candidate in _DEFAULT_NAMES if hasattr(module, candidate)]
    if not found:
        raise LoadError(f"module '{module.__name__}' has no Runner or Predictor")
    if len(found) == 2:
        warnings.warn("Both Runner and Predictor are defined; using Runner.", UserWarning, stacklevel=1)
    elif found == ["Predictor"]:
        warnings.warn("Predictor is deprecated; use Runner instead", DeprecationWarning, stacklevel=1)
    return getattr(module, found[0])


def _from_class(target: Any) -> Model:
    cls = type(target)
    names = [name for name in ("run", "predict") if _defines(cls, name)]
    if len(names) == 2:
        raise LoadError(f"{cls.__name__} must define either run() or predict(), not both")
    train = getattr(target, "train", None)
    if not names and not callable(train):
        raise LoadError(f"run or predict method not found: {cls.__name__}")
    run = getattr(target, names[0]) if names else None
    setup = target.setup if _defines(cls, "setup") else None
    return _model(run, train, setup, getattr(target, "healthcheck", None))


def _model(run: Any, train: Any, setup: Any, healthcheck: Any) -> Model:
    hints = _hints(setup) if setup is not None else {}
    return Model(
        run=_function(run),
        train=_function(train),
        setup=setup,
        wants_weights=setup is not None and "weights" in _parameters(setup),
        weights_type=hints.get("weights"),
        healthcheck=healthcheck if callable(healthcheck) else None,
        concurrency=getattr(run, "__cog_concurrent_max__", 1),
        streaming=bool(getattr(run, "__cog_streaming__", False)),
    )


def _function(call: Any) -> Function | None:
    if call is None:
        return None
    return Function(call=call, signature=cog.schema.signature(call), is_async=_is_async(call))


def _defines(cls: type, name: str) -> bool:
    """Whether the author wrote a method of this name, rather than the base classes."""
    for base in cls.__mro__:
        if name in vars(base):
            return base is not object and base.__module__.partition(".")[0] != "cog"
    return False


def _is_async(call: Any) -> bool:
    while hasattr(call, "func") and not hasattr(call, "__code__"):  # a partial
        call = call.func
    code = getattr(getattr(call, "__func__", call), "__code__", None)
    if code is None:
        code = getattr(getattr(type(call), "__call__", None), "__code__", None)  # noqa: B004 - an object that is called
    return code is not None and bool(code.co_flags & (_COROUTINE | _ASYNC_GENERATOR))


def _parameters(call: Any) -> tuple[str, ...]:
    function = getattr(call, "__func__", call)
    code = getattr(function, "__code__", None)
    if code is None:
        return ()
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _hints(call: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(call)
    except Exception:
        return {}


def weights_for(model: Model, value: str | None, fetched: Callable[[str], str]) -> Any:
    """What `setup(weights=…)` is to receive: a Path or a file where its annotation says so, else the text.

    `fetched` brings the bytes of a URL here and gives their path. Nothing given: the folder or file `weights` that
    stands beside the model, if there is one.
    """
    if value is None and Path("weights").exists():
        value = "weights"
    kinds = (model.weights_type, *getattr(model.weights_type, "__args__", ()))
    if value is None or str in kinds or model.weights_type is None:
        return value
    if cog.types.Path in kinds or cog.types.File in kinds:
        path = fetched(value)
        return cog.types.Path(path) if cog.types.Path in kinds else Path(path).open("rb")
    return value
