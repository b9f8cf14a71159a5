"""What the author of a model imports."""

from __future__ import annotations

import sys
from typing import Any

from cog import errors
from cog.errors import CancelationException
from cog.fields import FieldInfo, Input
from cog.model import BaseModel
from cog.predictor import BasePredictor, BaseRunner, concurrent, streaming
from cog.scope import current_scope
from cog.types import (
    AsyncConcatenateIterator,
    ConcatenateIterator,
    File,
    Opaque,
    Path,
    Secret,
    URLFile,
    URLPath,
)
from cog.version import __version__

__all__ = [
    "AsyncConcatenateIterator",
    "BaseModel",
    "BasePredictor",
    "BaseRunner",
    "CancelationException",
    "ConcatenateIterator",
    "ExperimentalFeatureWarning",
    "FieldInfo",
    "File",
    "Input",
    "Opaque",
    "Path",
    "Secret",
    "URLFile",
    "URLPath",
    "__version__",
    "concurrent",
    "current_scope",
    "emit_metric",
    "streaming",
]


def __getattr__(name: str) -> Any:
    """The deprecated names, each with one line on stderr at its first use."""
    if name == "ExperimentalFeatureWarning":
        found: Any = errors.ExperimentalFeatureWarning
    elif name == "emit_metric":
        found = _emit_metric
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    print(f"cog: {_DEPRECATED[name]}", file=sys.stderr)  # noqa: T201 - authors read the log of their model
    globals()[name] = found
    return found


_DEPRECATED = {
    "ExperimentalFeatureWarning": "ExperimentalFeatureWarning is deprecated and will be removed in a future release."
    " Remove it: nothing warns with it any more.",
    "emit_metric": "emit_metric() is deprecated and will be removed in a future release."
    " Use current_scope().record_metric(name, value) instead.",
}


def _emit_metric(name: str, value: Any) -> None:
    current_scope().record_metric(name, value)
