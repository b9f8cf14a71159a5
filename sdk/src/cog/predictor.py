"""Base classes of models, and the decorators that say how `run()` may be used."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, overload

from cog import batching
from cog import scope as scopes
from cog.shapes import SchemaError

F = TypeVar("F", bound=Callable[..., Any])

STREAMING = "__cog_streaming__"
CONCURRENCY = "__cog_concurrent_max__"
BATCH = "__cog_batch__"


class BaseRunner:
    """A model: override `setup()`, which is called once, and `run()`, which is called for each prediction.

    Deriving from it is optional, and a subclass need not call its `__init__`. `predict()` is the older name of
    `run()`; override one of the two.
    """

    def setup(self, weights: pathlib.Path | str | None = None) -> Any:
        """Load what predictions need; called once, before the first one. May be `async def`."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one prediction. Raises NotImplementedError where a subclass has neither `run` nor `predict`."""
        if type(self).predict is BaseRunner.predict:
            raise NotImplementedError("run has not been implemented by parent class.")
        return self.predict(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """The older name of `run`."""
        if type(self).run is BaseRunner.run:
            raise NotImplementedError("run has not been implemented by parent class.")
        name = type(self).__name__
        warnings.warn(f"{name}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=2)
        return self.run(*args, **kwargs)

    @property
    def scope(self) -> scopes.Scope:
        """The prediction that is running."""
        return scopes.current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Record a metric of the prediction that is running; see `Scope.record_metric`."""
        scopes.current_scope().record_metric(key, value, mode)


class BasePredictor(BaseRunner):
    """The older name of `BaseRunner`."""


@overload
def streaming(function: F) -> F: ...
@overload
def streaming() -> Callable[[F], F]: ...
def streaming(function: Any = None) -> Any:
    """Mark `run()` as one whose output may be followed as it is made: `@streaming` or `@streaming()`."""

    def mark(marked: F) -> F:
        if hasattr(marked, BATCH):
            raise SchemaError(batching.BESIDE_STREAMING)
        setattr(marked, STREAMING, True)
        return marked

    return mark if function is None else mark(function)


@overload
def concurrent(function: F) -> F: ...
@overload
def concurrent(*, max: int = 1) -> Callable[[F], F]: ...
def concurrent(function: Any = None, *, max: int = 1) -> Any:
    """Let up to `max` predictions run at once in one process: `@concurrent(max=8)` on an `async def`.

    Raises TypeError for a `max` that is no int, or above 1 on a function that is not asynchronous; ValueError below 1.
    """
    if isinstance(max, bool) or not isinstance(max, int):
        raise TypeError(f"@concurrent max must be an integer, got {type(max).__name__}")
    if max < 1:
        raise ValueError(f"@concurrent max must be at least 1, got {max}")

    def mark(marked: F) -> F:
        if hasattr(marked, BATCH):
            raise SchemaError(batching.BESIDE_CONCURRENT)
        if max > 1 and not (inspect.iscoroutinefunction(marked) or inspect.isasyncgenfunction(marked)):
            raise TypeError("@concurrent(max > 1) requires an async run() or predict() method")
        setattr(marked, CONCURRENCY, max)
        return marked

    return mark if function is None else mark(function)


@overload
def batch(function: F) -> F: ...
@overload
def batch(
    *, max_size: int = batching.DEFAULT_SIZE, max_wait_ms: float = batching.DEFAULT_WAIT_MS
) -> Callable[[F], F]: ...
def batch(
    function: Any = None, *, max_size: int = batching.DEFAULT_SIZE, max_wait_ms: float = batching.DEFAULT_WAIT_MS
) -> Any:
    """Run up to `max_size` predictions in one call: `run()` takes lists and returns a list, one item a prediction.

    A batch starts when it is full, or `max_wait_ms` after the first of its predictions came. To callers the model is
    one that takes and returns a single value of each. An item that is an exception fails its own prediction only.
    Raises ValueError for numbers that mean nothing, and beside `@concurrent` and `@streaming`.
    """
    told = batching.make(max_size, max_wait_ms)

    def mark(marked: F) -> F:
        if not callable(marked):
            raise TypeError(f"@batch marks a function, got {marked!r}; its numbers have names: @batch(max_size=8)")
        if hasattr(marked, CONCURRENCY):
            raise SchemaError(batching.BESIDE_CONCURRENT)
        if hasattr(marked, STREAMING):
            raise SchemaError(batching.BESIDE_STREAMING)
        setattr(marked, BATCH, told)
        return marked

    return mark if function is None else mark(function)


def __getattr__(name: str) -> Any:
    """What this module also had in Cog up to 0.16; loaded for those alone who ask."""
    if name.startswith("_") or name not in _FORMER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("cog.former"), name)


_FORMER = frozenset(
    {
        "extract_setup_weights",
        "get_healthcheck",
        "get_input_type",
        "get_output_type",
        "get_predict",
        "get_train",
        "get_training_input_type",
        "get_training_output_type",
        "get_weights_type",
        "has_setup_weights",
        "load_predictor_from_ref",
        "run_setup",
        "run_setup_async",
    }
)
