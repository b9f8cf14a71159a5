"""What a caller posts: the envelope around an input, read strictly, with faults told by field.

Unknown keys are let through: older clients send some. Faults have the words that clients of Cog know, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Filter = Literal["start", "output", "logs", "completed"]
EVENTS = ("start", "output", "logs", "completed")
_PARSE = "Failed to parse the request body as JSON: "
_DESERIALIZE = "Failed to deserialize the JSON body into the target type: "
_EMPTY = msgspec.Raw(b"{}")
# From so many bytes on an input is read at once: to find its end unread would take longer than to read it.
LARGE = 64 * 1024

Fault = tuple[list[str], str, str]  # where, message, type


class RequestError(Exception):
    """A request that cannot be taken: a status and a JSON body."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = msgspec.json.encode(body)


class Envelope(msgspec.Struct):
    """A request to predict or to train. `input` is JSON as it came (`Raw`) or, of a large body, its value; it is an
    object only once it was checked.
    """

    id: str | None = None
    input: Any = _EMPTY
    webhook: str | None = None
    webhook_events_filter: list[Filter] | None = None
    context: dict[str, str] | None = None


class _Small(Envelope):
    input: msgspec.Raw = _EMPTY


_decode_small = msgspec.json.Decoder(_Small).decode
_decode_large = msgspec.json.Decoder(Envelope).decode


def parse(body: bytes) -> Envelope:
    """The envelope in a body; an empty body is an empty envelope. Raises RequestError."""
    if not body:
        return Envelope()
    try:
        found = (_decode_small if len(body) < LARGE else _decode_large)(body)
    except msgspec.ValidationError as error:
        raise invalid(list(_faults(body)) or [(["body"], _DESERIALIZE + str(error), "value_error")]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(400, {"detail": _PARSE + (str(error) or "it is nested too deeply")}) from None
    if found.input is None or (type(found.input) is msgspec.Raw and bytes(found.input) == b"null"):
        found.input = _EMPTY
    return found


def invalid(faults: list[Fault]) -> RequestError:
    """422, with each fault where it stands."""
    return RequestError(422, {"detail": [{"loc": loc, "msg": message, "type": kind} for loc, message, kind in faults]})


def _faults(body: bytes) -> Iterator[Fault]:
    value = msgspec.json.decode(body)
    if not isinstance(value, dict):
        yield ["body"], f"{_DESERIALIZE}invalid type: {_named(value)}, expected an object", "value_error"
        return
    for name in ("id", "webhook"):
        if not isinstance(value.get(name), (str, type(None))):
            yield _wrong(["body", name], name, value[name], "a string")
    events = value.get("webhook_events_filter")
    if not isinstance(events, (list, type(None))):
        yield _wrong(["body", "webhook_events_filter"], "webhook_events_filter", events, "a list")
    for index, event in enumerate(events if isinstance(events, list) else ()):
        if event not in EVENTS:
            place = f"webhook_events_filter[{index}]"
            choices = ", ".join(f"`{choice}`" for choice in EVENTS)
            said = f"{_DESERIALIZE}{place}: unknown variant `{event}`, expected one of {choices}"
            yield ["body", "webhook_events_filter", str(index)], said, "value_error"
    yield from _context_faults(value.get("context"))


def _context_faults(context: Any) -> Iterator[Fault]:
    if not isinstance(context, (dict, type(None))):
        yield _wrong(["body", "context"], "context", context, "an object")
    for name, text in context.items() if isinstance(context, dict) else ():
        if not isinstance(text, str):
            yield _wrong(["body", "context", name], f"context.{name}", text, "a string")


def _wrong(loc: list[str], place: str, value: object, wanted: str) -> Fault:
    return loc, f"{_DESERIALIZE}{place}: invalid type: {_named(value)}, expected {wanted}", "value_error"


def _named(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"{'integer' if isinstance(value, int) else 'floating point'} `{value}`"
    if isinstance(value, str):
        return f'string "{value[:100]}"'
    return "sequence" if isinstance(value, list) else "map"
