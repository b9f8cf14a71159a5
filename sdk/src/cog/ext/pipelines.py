"""`include()`: another model as a function, in models that are pipelines of others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def include(ref: str) -> Callable[..., Any]:
    """The model `owner/name` as a function, by Replicate's client. Raises ImportError where that is not installed."""
    try:
        replicate = importlib.import_module("replicate")
    except ModuleNotFoundError:
        raise ImportError(
            f"include({ref!r}) needs Replicate's client: add `replicate` to the project's requirements"
        ) from None
    found: Callable[..., Any]
    if hasattr(replicate, "use"):
        found = replicate.use(ref)
    else:  # clients before 1.1

        def found(**values: Any) -> Any:
            return replicate.run(ref, input=values)

    return found
