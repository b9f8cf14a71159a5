"""What a scenario can expect of a reply, of a request that its sink got, of a command's output."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import scenario_match as match
from scenario_match import Mismatch


@dataclass(slots=True, kw_only=True)
class Seen:
    """Something that was seen. `values` gets what a scenario saves; `at` is the event that is looked at next."""

    body: bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, Any]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    at: int = 0

    @property
    def json(self) -> Any:
        """The body as JSON. Raises Mismatch."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Mismatch(f"the body is no JSON: {self.text[:1000]!r}") from None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")


def pattern(text: str) -> Any:
    """A JSON pattern out of a scenario."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise AssertionError(f"the scenario's own JSON is wrong: {error}: {text}") from None


def _status(seen: Seen, rest: str) -> None:
    if seen.status != int(rest):
        raise Mismatch(f"the status is {seen.status}; wanted: {rest}; body: {seen.text[:1000]}")


def _header(seen: Seen, rest: str) -> None:
    name, _, value = rest.partition(": ")
    match.compare(value, seen.headers.get(name.lower()), f"header {name}")


def _lacks_header(seen: Seen, rest: str) -> None:
    if rest.lower() in seen.headers:
        raise Mismatch(f"there is a header {rest}: {seen.headers[rest.lower()]}")


def _lacks(seen: Seen, rest: str) -> None:
    path, _, name = rest.rpartition(".")
    if name in (match.at(seen.json, path) if path else seen.json):
        raise Mismatch(f"there is a {rest} in {seen.text[:1000]}")


def _keys(seen: Seen, rest: str) -> None:
    match.compare(sorted(rest.split()), sorted(seen.json), "the list of keys")


def _at(seen: Seen, rest: str) -> None:
    path, _, wanted = rest.partition(" ")
    match.subset(pattern(wanted), match.at(seen.json, path), path)


def _exactly_at(seen: Seen, rest: str) -> None:
    path, _, wanted = rest.partition(" ")
    match.compare(pattern(wanted), match.at(seen.json, path), path)


def _has(seen: Seen, rest: str) -> None:
    if rest not in seen.text:
        raise Mismatch(f"{rest!r} is not in {seen.text[:2000]!r}")


def _has_not(seen: Seen, rest: str) -> None:
    if rest in seen.text:
        raise Mismatch(f"{rest!r} is in {seen.text[:2000]!r}")


def _order(seen: Seen, rest: str) -> None:
    at = -1
    for part in rest.split(" | "):
        found = seen.text.find(part, at + 1)
        if found < 0:
            raise Mismatch(f"{part!r} does not come, or not in this place, in {seen.text[:2000]!r}")
        at = found


def _length(seen: Seen, rest: str) -> None:
    path, _, wanted = rest.partition(" ")
    found = len(match.at(seen.json, path))
    if found != int(wanted):
        raise Mismatch(f"{path} has a length of {found}; wanted: {wanted}")


def _below(seen: Seen, rest: str) -> None:
    path, _, limit = rest.partition(" ")
    if match.at(seen.json, path) >= match.at(seen.json, limit):
        raise Mismatch(f"{path} is not below {limit} in {seen.text[:1000]}")


def _events(seen: Seen, rest: str) -> None:
    match.compare(rest.split(), [name for name, _ in seen.events], "the list of events")


def _event(seen: Seen, rest: str) -> None:
    """The next event of this name has this in it."""
    name, _, wanted = rest.partition(" ")
    for index in range(seen.at, len(seen.events)):
        if seen.events[index][0] == name:
            seen.at = index + 1
            match.subset(pattern(wanted or "{}"), seen.events[index][1], f"event {name}")
            return
    raise Mismatch(f"no event {name} comes next; events: {seen.events[-20:]}")


def _save(seen: Seen, rest: str) -> None:
    name, _, path = rest.partition(" ")
    found = match.at(seen.json, path)
    seen.values[name] = found if isinstance(found, str) else json.dumps(found)


def _text(seen: Seen, rest: str) -> None:
    if seen.text.removesuffix("\n") != rest:
        raise Mismatch(f"the text is {seen.text[:2000]!r}; wanted: {rest!r}")


def _like(seen: Seen, rest: str) -> None:
    if not re.fullmatch(rest, seen.text.removesuffix("\n"), re.DOTALL):
        raise Mismatch(f"the text is {seen.text[:2000]!r}; wanted: like {rest}")


def _empty(seen: Seen, _: str) -> None:
    if seen.body:
        raise Mismatch(f"it is not empty: {seen.text[:2000]!r}")


WORDS: dict[str, Callable[[Seen, str], None]] = {
    "status": _status,
    "header": _header,
    "lacks-header": _lacks_header,
    "json": lambda seen, rest: match.subset(pattern(rest), seen.json),
    "json=": lambda seen, rest: match.compare(pattern(rest), seen.json),
    "at": _at,
    "at=": _exactly_at,
    "lacks": _lacks,
    "keys": _keys,
    "length": _length,
    "below": _below,
    "text": _text,
    "like": _like,
    "has": _has,
    "has-not": _has_not,
    "order": _order,
    "empty": _empty,
    "events": _events,
    "event": _event,
    "save": _save,
}
