"""Inputs that nobody but the model may see: taken out of an input, sealed in its row, opened for the worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.sealing import Sealer, SealError

if TYPE_CHECKING:
    from modelyard.predictions.live import Live

REDACTED = "[REDACTED]"
# They travel to the worker in one frame, never in a file.
MOST_SECRET_BYTES = 256 * 1024


def take_out(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The secrets among an input's values; in their places stands from now on that there are some."""
    secrets = {name: values[name] for name in names if values.get(name) is not None}
    values.update(dict.fromkeys(secrets, REDACTED))
    return secrets


class Hidden:
    """Seals and opens what was taken out of inputs. Without a `sealer` (a test's yard) no secret input is taken."""

    def __init__(self, sealer: Sealer | None) -> None:
        self._sealer = sealer

    def seal(self, prediction_id: str, secrets: dict[str, Any]) -> str:
        """The secrets of an input as its row holds them. Raises SealError."""
        if self._sealer is None:
            raise SealError("This yard has no key to seal secret inputs with.")
        return self._sealer.seal(msgspec.json.encode(secrets).decode(), _purpose(prediction_id))

    def reveal(self, live: Live) -> SealError | None:
        """Open those of a prediction, for its worker and for its mask; gives what is wrong where that cannot be."""
        sealed = live.record.secrets
        if sealed is None or live.secrets:
            return None
        if self._sealer is None:
            return SealError("This yard has no key to open secret inputs with.")
        try:
            text = self._sealer.open(sealed, _purpose(live.id), "A secret input of this prediction")
        except SealError as error:
            return error
        live.secrets = msgspec.json.decode(text, type=dict[str, Any])
        return None


def _purpose(prediction_id: str) -> str:
    return f"input of prediction {prediction_id}"
