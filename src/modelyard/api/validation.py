"""A request to run something, checked: the envelope's keys, then the input against the version's schema.

Schemas are compiled once and kept. The words are those that clients of Replicate know.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import jsonschema_rs
import msgspec

from modelyard import errors
from modelyard.api.base import invalid, json_type
from modelyard.models.interface import Interface
from modelyard_runner import lenient

Failure = tuple[str, str, str]
Event = Literal["start", "output", "logs", "completed"]

EVENTS = ("start", "output", "logs", "completed")
# A path or name that somebody took for an address is refused here, with the input's name, not in the model.
_URI = re.compile(r"(?:https?://[^\s/?#]|data:)", re.IGNORECASE)
_REMEMBERED = 1000
_SHOWN_VALUE = 200

log = logging.getLogger(__name__)


class ByModel(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a creation whose path says what to run."""

    input: msgspec.Raw
    webhook: str | None = None
    webhook_events_filter: tuple[Event, ...] | None = None
    stream: bool | None = None
    webhook_completed: str | None = None


class ByVersion(ByModel, forbid_unknown_fields=True, kw_only=True):
    """The body of a creation that says itself what to run."""

    version: str


Envelope = TypeVar("Envelope", ByModel, ByVersion)
decode_by_model: Callable[[bytes], ByModel] = msgspec.json.Decoder(ByModel).decode
decode_by_version: Callable[[bytes], ByVersion] = msgspec.json.Decoder(ByVersion).decode
decode_input: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


def explain_body(body: bytes, *, by_version: bool) -> errors.ModelyardError:
    """What is wrong with a body that did not decode."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        return errors.BadRequest(f"The request's body is not valid JSON: {error or 'it is nested too deeply'}")
    if not isinstance(value, dict):
        return invalid([_wrong_type("", "object", value)])
    needed = ("version", "input") if by_version else ("input",)
    known = ByVersion.__struct_fields__ if by_version else ByModel.__struct_fields__
    failures = [("required", "", f"{name} is required") for name in needed if name not in value]
    failures += [_unknown_key(name) for name in value if name not in known]
    failures += _wrong_envelope(value, known)
    return invalid(failures) if failures else errors.BadRequest("The request's body cannot be read.")


def _unknown_key(name: str) -> Failure:
    said = f"Additional property {name[:_SHOWN_VALUE]} is not allowed"
    return ("additional_property_not_allowed", "", said)


def _wrong_envelope(value: dict[str, Any], known: tuple[str, ...]) -> Iterable[Failure]:
    for name in ("version", "webhook", "webhook_completed"):
        may_be_null = name != "version"
        present = name in known and name in value and not (may_be_null and value[name] is None)
        if present and not isinstance(value[name], str):
            yield _wrong_type(name, "string", value[name])
    if "input" in value and not isinstance(value["input"], dict):
        yield _wrong_type("input", "object", value["input"])
    if value.get("stream") is not None and not isinstance(value["stream"], bool):
        yield _wrong_type("stream", "boolean", value["stream"])
    events = value.get("webhook_events_filter")
    if events is not None and not isinstance(events, list):
        yield _wrong_type("webhook_events_filter", "array", events)
    for index, event in enumerate(events if isinstance(events, list) else ()):
        if event not in EVENTS:
            field = f"webhook_events_filter.{index}"
            yield ("enum", field, f"{field} must be one of the following: {_choices(EVENTS)}")


def webhook(address: str | None) -> str | None:
    """A webhook's address, checked. Raises Invalid."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(ord(character) <= 32 for character in address):
        raise invalid([("format", "webhook", "Does not match format 'uri': an http or https address is wanted")])
    return address


def _wrong_type(field: str, expected: str, given: object) -> Failure:
    return ("invalid_type", field, f"Invalid type. Expected: {expected}, given: {json_type(given)}")


def _choices(options: Iterable[object]) -> str:
    return ", ".join(msgspec.json.encode(option).decode() for option in options)


class Checked(msgspec.Struct):
    """An input that a version takes. `raw`: as JSON; `notes`: what the prediction's log says of it."""

    values: dict[str, Any]
    raw: bytes
    notes: str = ""


class Checker:
    """Checks inputs against interfaces."""

    def __init__(self) -> None:
        # By identity: an interface is made once a version and lives as long as something remembers it.
        self._compiled: dict[int, tuple[Interface, Any]] = {}

    def check(self, raw: msgspec.Raw, interface: Interface) -> Checked:
        """The input without what the version does not know; whole numbers written as 3.0 become 3. Raises Invalid."""
        try:
            values = decode_input(raw)
        except (ValueError, RecursionError) as error:
            raise _bad_input(raw, error) from None
        notes, changed = "", False
        if interface.inputs is not None and not values.keys() <= interface.inputs:
            unknown = [name for name in values if name not in interface.inputs]
            for name in unknown:
                del values[name]
            notes, changed = _dropped(unknown), True
        if interface.lenient:
            changed |= lenient.read(values, interface.lenient)
        validator = self._validator(interface)
        if validator is not None and not validator.is_valid(values):
            found = [failure for error in validator.iter_errors(values) for failure in _failures(error)]
            raise invalid([_discreet(failure, interface) if interface.secrets else failure for failure in found])
        for name in interface.integers:
            value = values.get(name)
            if type(value) is float or type(value) is list:
                values[name] = _whole(value)
                changed = True
        return Checked(values, msgspec.json.encode(values) if changed else bytes(raw), notes)

    def _validator(self, interface: Interface) -> Any:
        known = self._compiled.get(id(interface))
        if known is not None:
            return known[1]
        compiled = _compile(interface)
        if len(self._compiled) >= _REMEMBERED:
            self._compiled.clear()
        self._compiled[id(interface)] = (interface, compiled)
        return compiled


def _compile(interface: Interface) -> Any:
    if interface.schema is None:
        return None
    try:
        return jsonschema_rs.Draft7Validator(
            dict(interface.schema), formats={"uri": _is_uri}, validate_formats=True, ignore_unknown_formats=True
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        # A foreign image may say anything; its model then sees its inputs unchecked.
        log.warning("a version's schema cannot be used, its inputs are not checked: %s", error)
        return None


def _is_uri(text: str) -> bool:
    return _URI.match(text) is not None


def _bad_input(raw: msgspec.Raw, error: Exception) -> errors.ModelyardError:
    start = bytes(raw)[:1]
    if start == b"{":
        return errors.BadRequest(f"The request's input is not valid JSON: {error or 'it is nested too deeply'}")
    given = {b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean", b"n": "null"}.get(start, "number")
    return invalid([("invalid_type", "input", f"Invalid type. Expected: object, given: {given}")])


def _dropped(names: list[str]) -> str:
    shown = ", ".join(repr(name[:100]) for name in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Left out of the input, because this version does not know it: {shown}{more}\n"


def _whole(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    return [_whole(item) for item in value] if type(value) is list else value


# -- words for what the validator found


def _discreet(failure: Failure, interface: Interface) -> Failure:
    """The same without the validator's own words, which may repeat the value, where that may be secret."""
    kind, field, _ = failure
    name = field.split(".")[1] if "." in field else ""
    own = kind in _OWN_WORDS or (name and name not in interface.secrets)
    return failure if own else (kind, field, "Does not fit what the version takes")


def _failures(error: jsonschema_rs.ValidationError) -> Iterable[Failure]:
    field = ".".join(["input", *map(str, error.instance_path)])
    kind = error.kind.name
    facts = error.kind.as_dict()
    if kind in ("anyOf", "oneOf"):
        inner = _only_branch(facts.get("context") or [])
        if inner is not None:
            for part in inner:
                yield from _failures(part)
            return
    yield _worded(kind, facts, field, error)


def _only_branch(context: list[list[jsonschema_rs.ValidationError]]) -> list[jsonschema_rs.ValidationError] | None:
    """Where null was the only alternative, what the other one says is the whole truth."""
    others = [branch for branch in context if not _wants_null(branch)]
    return others[0] if len(others) == 1 and len(context) == 2 else None


def _wants_null(branch: list[jsonschema_rs.ValidationError]) -> bool:
    return len(branch) == 1 and branch[0].kind.name == "type" and branch[0].kind.as_dict().get("types") == ["null"]


_LIMITS = {
    "minimum": ("number_gte", "Must be greater than or equal to {limit}"),
    "maximum": ("number_lte", "Must be less than or equal to {limit}"),
    "exclusiveMinimum": ("number_gt", "Must be greater than {limit}"),
    "exclusiveMaximum": ("number_lt", "Must be less than {limit}"),
    "minLength": ("string_gte", "String length must be greater than or equal to {limit}"),
    "maxLength": ("string_lte", "String length must be less than or equal to {limit}"),
    "minItems": ("array_min_items", "Array must have at least {limit} items"),
    "maxItems": ("array_max_items", "Array must have at most {limit} items"),
    "pattern": ("pattern", "Does not match pattern '{pattern}'"),
    "format": ("format", "Does not match format '{format}'"),
    "anyOf": ("number_any_of", "Must validate at least one schema (anyOf)"),
}


# What `_worded` says of these holds nothing of the value.
_OWN_WORDS = {"required", "invalid_type", "enum", *(word for word, _ in _LIMITS.values())}


def _worded(kind: str, facts: dict[str, Any], field: str, error: jsonschema_rs.ValidationError) -> Failure:
    if kind == "required":
        return ("required", field, f"{facts.get('property')} is required")
    if kind == "type":
        types = [name for name in facts.get("types", ()) if name != "null"]
        return _wrong_type(field, "/".join(types), error.instance)
    if kind == "enum":
        name = field.rpartition(".")[2]
        return ("enum", field, f"{name} must be one of the following: {_choices(facts.get('options') or ())}")
    if kind in _LIMITS:
        word, sentence = _LIMITS[kind]
        return (word, field, sentence.format(**facts))
    return (kind.lower(), field, error.message[:_SHOWN_VALUE])
