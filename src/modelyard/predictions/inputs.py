"""Inputs whose bytes this yard has: its own files and output links are read from blobs, never fetched over HTTP."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import msgspec
import pybase64

from modelyard import errors, files
from modelyard.blobs.base import Blobs
from modelyard.files import Files
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction
from modelyard.uses import Uses

# A data URI longer than this becomes a file: rows stay small and its bytes travel beside the link.
INLINE_CHARACTERS = 8 * 1024
_FILE_LINK = re.compile(r"https?://[^/?#]+/(?:[^?#]*/)?v1/files/([0-9a-z]{26})(?:/download)?/?(?:[?#].*)?")
_OUTPUT_LINK = re.compile(r"https?://[^/?#]+/(?:[^?#]*/)?outputs/([0-9a-z]{26})/(\d{1,9})/([0-9a-f]+)/([^/?#]+)")
_MARKS = (b"/v1/files/", b"/outputs/")
# Of how many addresses of an input it is asked at once where their bytes are: a bucket takes a while for each.
_ASKED_AT_ONCE = 16
_ANY_FILE = re.compile(r"/files/([0-9a-z]{26})")
_ANY_OUTPUT = re.compile(r"/outputs/([0-9a-z]{26})/")
# How long it is remembered that somebody looked for a file or output, to name it in a prediction.
USED_SECONDS = 600.0


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


@dataclass(slots=True)
class Named:
    """Ids of the files, and of the predictions with outputs, that inputs name."""

    files: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)

    def add(self, other: Named) -> None:
        """Take another's in."""
        self.files |= other.files
        self.outputs |= other.outputs


def named(raw: str) -> Named:
    """What may be ours in an input's JSON, whatever host its addresses name: rather too much than too little."""
    plain = raw.replace("\\/", "/") if "\\/" in raw else raw
    return Named(set(_ANY_FILE.findall(plain)), set(_ANY_OUTPUT.findall(plain)))


def file_key(file_id: str) -> str:
    """What a file is called among what is used and taken away."""
    return f"files/{file_id}"


def output_key(prediction_id: str) -> str:
    """The same for a prediction's output files; also what the keys of their blobs begin with."""
    return f"outputs/{prediction_id}"


class Inputs:
    """Finds what is ours in an input, and makes it ours where it is large. `uses` is told of it first."""

    def __init__(self, own: Files, outputs: Outputs, blobs: Blobs, uses: Uses | None = None) -> None:
        self._files = own
        self._outputs = outputs
        self._blobs = blobs
        self._uses = uses or Uses(USED_SECONDS)

    @staticmethod
    def may_hold_links(raw: bytes) -> bool:
        """Could this JSON hold an address of ours? (A quick look; JSON may write a slash as `\\/`.)"""
        return any(mark in raw for mark in _MARKS) or b"\\/" in raw

    async def of_record(self, record: Prediction) -> dict[str, str]:
        """The `input_files` of a prediction that was read back from its row."""
        if not self.may_hold_links(record.input):
            return {}
        return await self.local(record.account_id, msgspec.json.decode(record.input))

    async def local(self, account_id: str, value: object) -> dict[str, str]:
        """Each string of an input that is the address of a file or output of ours, and where its bytes are on this
        machine, or will be once they were brought.

        A file counts only for the account that owns it; an output's address is its own permission.
        """
        addresses = list(dict.fromkeys(text for text in _strings(value) if text.startswith("http")))
        found: dict[str, str] = {}
        for start in range(0, len(addresses), _ASKED_AT_ONCE):
            asked = addresses[start : start + _ASKED_AT_ONCE]
            # Each is waited for: what is raised is what the first of them says, and none goes on by itself.
            places = await asyncio.gather(*(self._place(account_id, text) for text in asked), return_exceptions=True)
            for text, place in zip(asked, places, strict=True):
                if isinstance(place, BaseException):
                    raise place
                if place is not None:
                    found[text] = str(place)
        return found

    async def _place(self, account_id: str, text: str) -> Path | None:
        key = await self._key(account_id, text)
        return None if key is None else await self._blobs.place(key)

    async def bring(self, files: Mapping[str, str]) -> None:
        """Have what `local` gave on this machine, just before a worker takes it. Raises NotFound, OSError."""
        await asyncio.gather(*(self._blobs.bring(Path(path)) for path in set(files.values())))

    @staticmethod
    def lost(value: object, found: Mapping[str, str], origin: str) -> str | None:
        """An address in a value that is one of this yard's (`origin`) and leads nowhere, according to `found`."""
        marks = tuple(origin + mark.decode() for mark in _MARKS)
        return next((text for text in _strings(value) if text.startswith(marks) and text not in found), None)

    async def _key(self, account_id: str, text: str) -> str | None:
        match = _FILE_LINK.fullmatch(text)
        if match is not None:
            await self._uses.using(file_key(match[1]))
            file = await self._files.get(account_id, match[1])
            return None if file is None else file.blob_key
        match = _OUTPUT_LINK.fullmatch(text)
        if match is not None:
            await self._uses.using(output_key(match[1]))
            return self._outputs.verify(match[1], int(match[2]), match[3], unquote(match[4]))
        return None

    async def keep_inline(self, account_id: str, value: Any, where: str, link: Callable[[str], str]) -> Any:
        """The value with its long data URIs replaced by the addresses (`link` of their ids) of files made of them.

        Raises Invalid, naming `where`, for one that cannot be decoded.
        """
        if isinstance(value, str):
            if len(value) <= INLINE_CHARACTERS or not value.startswith("data:"):
                return value
            kind, content = _decode(value, where)
            head = content[: files.HEAD_BYTES]
            file = await self._files.create(account_id, content, name="input", kind=kind, head=head, inline=True)
            return link(file.id)
        if isinstance(value, list):
            return [await self.keep_inline(account_id, v, f"{where}.{i}", link) for i, v in enumerate(value)]
        if isinstance(value, dict):
            return {k: await self.keep_inline(account_id, v, f"{where}.{k}", link) for k, v in value.items()}
        return value


def _decode(uri: str, where: str) -> tuple[str, bytes]:
    header, comma, body = uri[len("data:") :].partition(",")
    kind, *parameters = header.split(";")
    try:
        if not comma:
            raise ValueError("it has no comma")
        if "base64" in (parameter.strip().lower() for parameter in parameters):
            plain = unquote(body) if "%" in body else body
            return kind, pybase64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        return kind, unquote_to_bytes(body)
    except (ValueError, binascii.Error):
        description = "Must be a data URI whose content can be decoded"
        field = {"type": "format", "field": where, "description": description}
        raise errors.Invalid(f"- {where}: {description}\n", [field]) from None
