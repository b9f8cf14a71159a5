"""A prediction's state as the JSON that callers see: compact, keys in order, values passed through as they came.

What today's Cog replies, and what older clients look for besides: the input, the times.
"""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec

from modelyard_runner.prediction import Prediction

# Longer inputs are not shown: their caller has them.
MAX_SHOWN_INPUT = 16 * 1024

_encode = msgspec.json.Encoder(order="sorted").encode
_second = (-1, "")


def time_text(us: int) -> str:
    """Microseconds since 1970 as ISO 8601."""
    global _second  # the text of the present second, made once for all who ask in it
    second, micro = divmod(us, 1_000_000)
    if second != _second[0]:
        _second = (second, datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{_second[1]}.{micro:06d}Z"


def render(prediction: Prediction) -> bytes:
    """The whole state."""
    parts = []
    if prediction.completed_at:
        parts.append(b'"completed_at":"%b"' % time_text(prediction.completed_at).encode())
    parts.append(b'"created_at":"%b"' % time_text(prediction.created_at).encode())
    if prediction.error is not None:
        parts.append(b'"error":%b' % _encode(prediction.error))
    parts.append(b'"id":%b' % prediction.key)
    if prediction.input:
        parts.append(b'"input":%b' % prediction.input)
    logs = prediction.logs
    parts.append(b'"logs":%b' % _encode(logs) if logs else b'"logs":""')
    parts.append(b'"metrics":%b' % _metrics(prediction))
    output = prediction.result()
    if output is not None and prediction.status in ("processing", "succeeded"):
        parts.append(b'"output":%b' % output)
    if prediction.started_at:
        parts.append(b'"started_at":"%b"' % time_text(prediction.started_at).encode())
    parts.append(b'"status":"%b"' % prediction.status.encode())
    return b"{%b}" % b",".join(parts)


def _metrics(prediction: Prediction) -> bytes:
    seconds = prediction.seconds
    if seconds is None:
        return _encode(prediction.metrics)
    if not prediction.metrics:
        return b'{"predict_time":%.6f}' % seconds
    return _encode({**prediction.metrics, "predict_time": seconds})
