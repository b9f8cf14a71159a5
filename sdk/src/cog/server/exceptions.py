"""What Cog's own server raises."""

from __future__ import annotations

from cog.errors import CancelationException, CogError

__all__ = ["CancelationException", "CogException", "FatalWorkerException", "InvalidStateException"]

CogException = CogError


class FatalWorkerException(CogError):
    """The process that holds the model is of no use any more. Nothing here raises it."""


class InvalidStateException(CogError):
    """Asked for at the wrong moment. Nothing here raises it."""
