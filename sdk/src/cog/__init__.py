"""What the author of a model imports."""

from __future__ import annotations

from typing import Any

from cog import errors, scope
from cog.errors import CancelationException
from cog.fields import FieldInfo, Input
from cog.model import BaseModel
from cog.predictor import BasePredictor, BaseRunner, batch, concurrent, streaming
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
    "batch",
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
        found = scope.emit_metric
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    errors.tell_deprecated(name)
    globals()[name] = found
    return found
