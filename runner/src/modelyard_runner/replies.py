"""A prediction's state as the JSON that callers see: compact, keys in order, values passed through as they came.

What today's Cog replies, and what older clients look for besides: the input, the times.
"""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec

from modelyard_runner.prediction import Moment, Prediction

# Longer inputs are not shown: their caller has them.
MAX_SHOWN_INPUT = 16 * 1024

_encode = msgspec.json.Encoder(order="sorted").encode
_second = (-1, b"")


def time_text(us: int) -> bytes:
    """Microseconds since 1970 as ISO 8601."""
    global _second  # the text of the present second, made once for all who ask in it
    second = us // 1_000_000
    if second != _second[0]:
        text = datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        _second = (second, text.encode())
    return b"%b.%06dZ" % (_second[1], us - second * 1_000_000)


def render(prediction: Prediction) -> bytes:
    """The whole state."""
    parts = [b'{"']
    if prediction.completed_at:
        parts += b'completed_at":"', time_text(prediction.completed_at), b'","'
    parts += b'created_at":"', time_text(prediction.created_at)
    if prediction.error is not None:
        parts += b'","error":', _encode(prediction.error), b',"id":', prediction.key
    elif prediction.former:
        parts += b'","error":null,"id":', prediction.key
    else:
        parts += b'","id":', prediction.key
    if prediction.input:
        parts += b',"input":', prediction.input
    logs = prediction.logs
    parts += b',"logs":', _encode(logs) if logs else b'""', b',"metrics":', _metrics(prediction)
    output = prediction.result()
    if output is not None:
        parts += b',"output":', output
    elif prediction.former:
        parts += (b',"output":null',)
    if prediction.started_at:
        parts += b',"started_at":"', time_text(prediction.started_at), b'"'
    parts += b',"status":"', prediction.status.encode(), b'","version":null}' if prediction.former else b'"}'
    return b"".join(parts)


def render_at(prediction: Prediction, moment: Moment) -> bytes:
    """The state at a moment while it ran; metrics as they are now."""
    parts = [b'{"created_at":"', time_text(prediction.created_at), b'","id":', prediction.key]
    if prediction.input:
        parts += b',"input":', prediction.input
    parts += b',"logs":', _encode(prediction.logs_at(moment)), b',"metrics":', _encode(prediction.metrics)
    output = prediction.result_at(moment)
    if output is not None:
        parts += b',"output":', output
    if prediction.started_at:
        parts += b',"started_at":"', time_text(prediction.started_at), b'"'
    parts += (b',"status":"processing"}',)
    return b"".join(parts)


def _metrics(prediction: Prediction) -> bytes:
    seconds = prediction.seconds
    if seconds is None:
        return _encode(prediction.metrics)
    if not prediction.metrics:
        return b'{"predict_time":%.6f}' % seconds
    return _encode({**prediction.metrics, "predict_time": seconds})
