"""The forms of values that a yard is told: each function takes a value as it stands somewhere, from an environment or a
file, and gives it as the yard uses it, or says what is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard import amounts
from modelyard.amounts import Duration, Size

_FORM_OF_TOKENS = r"r8_[A-Za-z0-9]{37}"
_HOST_FORM = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_OWNER_FORM = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_BUCKET_FORM = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_PREFIX_FORM = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
_LONGEST_PREFIX = 200


class Wrong(Exception):
    """A value does not parse; the message says what is wanted."""


def text(raw: object) -> str:
    if not isinstance(raw, str) or not raw:
        raise Wrong("a text that is not empty")
    return raw


def number(low: float, high: float, *, whole: bool = False) -> Callable[[object], Any]:
    kind = "a whole number" if whole else "a number"

    def parse(raw: object) -> float:
        wanted = Wrong(f"{kind} from {low:g} to {high:g}")
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise wanted
        try:
            value = int(str(raw)) if whole else float(raw)
        except ValueError:
            raise wanted from None
        if not low <= value <= high:
            raise wanted
        return value

    return parse


def one_of(*choices: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        if raw not in choices:
            raise Wrong(f"one of {', '.join(choices)}")
        return str(raw)

    return parse


def path(raw: object) -> Path:
    if isinstance(raw, Path):
        return raw
    return Path(text(raw)).expanduser()


def url(raw: object) -> str:
    given = text(raw)
    try:
        parts = urlsplit(given)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        complete = False
    if not complete:
        raise Wrong("an address such as https://yard.example.org")
    return given.rstrip("/")


def origin(raw: object) -> str:
    given = url(raw)
    parts = urlsplit(given)
    if parts.path:
        # Registries are at /v2/ of a host, and pages at its root: a yard cannot be one of several things below a name.
        raise Wrong("an address without a path, such as https://yard.example.org: a yard has a name of its own")
    if parts.username is not None:
        raise Wrong("an address without a user in it, such as https://yard.example.org")
    return given


def hosts(raw: object) -> tuple[str, ...]:
    wanted = Wrong("names of hosts without ports, such as yard.lan,yard.example.org")
    given = raw if isinstance(raw, list | tuple) else text(raw).split(",")
    names = tuple(str(name).strip().lower() for name in given)
    if not all(re.fullmatch(_HOST_FORM, name) for name in names):
        raise wanted
    return names


def database(raw: object) -> str:
    given = text(raw)
    if not given.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise Wrong("sqlite:///PATH or postgresql://USER@HOST/NAME")
    return given


def _like(form: str, wanted: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        if not re.fullmatch(form, text(raw)):
            raise Wrong(wanted)
        return str(raw)

    return parse


token = _like(_FORM_OF_TOKENS, "r8_ followed by 37 letters and digits")
owner = _like(_OWNER_FORM, "at most 64 lowercase letters, digits, '-', '_' and '.', a letter or digit at both ends")
base = _like(r"none|(oci:|[a-zA-Z0-9])\S+", "an image such as registry.example.org/python:{python}-slim, or none")


def duration(raw: object) -> Duration:
    try:
        return amounts.duration(raw)
    except ValueError as wanted:
        raise Wrong(str(wanted)) from None


def size(raw: object) -> Size:
    try:
        return amounts.size(raw)
    except ValueError as wanted:
        raise Wrong(str(wanted)) from None


def link(raw: object) -> str:
    given = text(raw)
    if given != "socket" and not (given.startswith("tcp:") and _is_authority(given.removeprefix("tcp:"))):
        raise Wrong("socket, or tcp:HOST:PORT such as tcp:host.docker.internal:9274")
    return given


def authority(raw: object) -> str:
    if not _is_authority(text(raw)):
        raise Wrong("HOST:PORT such as 127.0.0.1:9273")
    return str(raw)


def _is_authority(given: str) -> bool:
    host, _, port = given.rpartition(":")
    return re.fullmatch(_HOST_FORM, host) is not None and port.isdecimal() and 0 < int(port) <= 65535


def key(raw: object) -> str:
    # Most have none, and this is loaded by every command.
    from modelyard import sealing

    try:
        sealing.parse_key(text(raw))
    except ValueError:
        raise Wrong(sealing.FORM) from None
    return str(raw)


def blobs(raw: object) -> str:
    given = text(raw).rstrip("/")
    if given == "disk":
        return given
    bucket, _, prefix = given.removeprefix("s3://").partition("/")
    right = given.startswith("s3://") and re.fullmatch(_BUCKET_FORM, bucket) is not None
    if not right or (prefix and not re.fullmatch(_PREFIX_FORM, prefix)) or len(prefix) > _LONGEST_PREFIX:
        raise Wrong(
            "disk, or s3://BUCKET or s3://BUCKET/PREFIX with a name of 3 to 63 lowercase letters, digits, '-', '.'"
        )
    return given
