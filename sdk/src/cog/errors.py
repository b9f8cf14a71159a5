"""What can go wrong inside a model's code, by name."""

from __future__ import annotations

import sys


class CogError(Exception):
    """Base of the errors that this package raises on purpose."""


class ConfigDoesNotExist(CogError):
    """There is no cog.yaml where one is needed."""


class PredictorNotSet(CogError):
    """cog.yaml names no model."""


class CancelationException(BaseException):
    """Raised inside synchronous `run()` or `predict()` when its prediction is canceled.

    Derives from BaseException so that a model's own `except Exception` does not swallow a cancel. Asynchronous code
    gets `asyncio.CancelledError` instead.
    """


class ExperimentalFeatureWarning(FutureWarning):
    """A category for `warnings.filterwarnings`; nothing raises it any more."""


_DEPRECATED = {
    "ExperimentalFeatureWarning": "ExperimentalFeatureWarning is deprecated and will be removed in a future release."
    " Remove it: nothing warns with it any more.",
    "emit_metric": "emit_metric() is deprecated and will be removed in a future release."
    " Use current_scope().record_metric(name, value) instead.",
}
_told: set[str] = set()


def tell_deprecated(name: str) -> None:
    """One line on stderr for the first use of a deprecated name, wherever it was imported from."""
    if name not in _told:
        _told.add(name)
        print(f"cog: {_DEPRECATED[name]}", file=sys.stderr)  # noqa: T201 - authors read the log of their model
