"""Output files: taken from the worker's scratch folder into blobs, and linked by addresses that need no token.

In a record such a link stands in placeholder form: an origin that no model can guess (it holds a secret of this yard),
then the path. A door replaces that origin by the address its reader knows the yard by.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from modelyard.blobs.base import Blobs

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class FileRef(Protocol):
    """A file that a frame mentions."""

    @property
    def ref(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str: ...


def safe_name(name: str) -> str:
    """A file name as one plain path segment of at most 100 characters; its extension stays."""
    plain = _UNSAFE.sub("_", Path(name).name).lstrip(".") or "output"
    stem, dot, extension = plain.rpartition(".")
    return plain if len(plain) <= 100 else (stem[: 99 - len(extension)] + dot + extension if dot else plain[:100])


class Outputs:
    """Keeps output files and makes and checks their links. `secret` is the yard's own, kept in its database."""

    def __init__(self, blobs: Blobs, secret: bytes) -> None:
        self._blobs = blobs
        # Keyed BLAKE2 needs no HMAC around it (RFC 7693), and costs a fraction of one.
        self._keyed = hashlib.blake2b(key=hashlib.sha256(secret).digest(), digest_size=20)
        self.placeholder = b"https://" + self._signature("placeholder").encode() + b".modelyard.invalid"

    def _signature(self, text: str) -> str:
        signed = self._keyed.copy()
        signed.update(b"output:" + text.encode())
        return signed.hexdigest()

    async def keep(self, prediction_id: str, first: int, files: Iterable[FileRef]) -> dict[str, str]:
        """Store the files, numbered from `first`; gives the placeholder link of each `ref`. Raises OSError."""
        links = {}
        for number, file in enumerate(files, first):
            name = safe_name(file.name)
            await self._blobs.put(self.key(prediction_id, number, name), Path(file.path))
            links[file.ref] = self.placeholder.decode() + self.path(prediction_id, number, name)
        return links

    @staticmethod
    def key(prediction_id: str, number: int, name: str) -> str:
        """The blob of an output file."""
        return f"outputs/{prediction_id}/{number}/{name}"

    def path(self, prediction_id: str, number: int, name: str) -> str:
        """The path part of a link: `/outputs/{id}/{number}/{signature}/{name}`."""
        return f"/outputs/{prediction_id}/{number}/{self._signature(f'{prediction_id}/{number}/{name}')}/{quote(name)}"

    def verify(self, prediction_id: str, number: int, signature: str, name: str) -> str | None:
        """The blob key of a link that this yard made; None for any other."""
        right = self._signature(f"{prediction_id}/{number}/{name}")
        return self.key(prediction_id, number, name) if hmac.compare_digest(right, signature) else None

    def render(self, output: bytes, origin: bytes) -> bytes:
        """An output's JSON with its links under `origin` (scheme and host, no trailing slash)."""
        return output.replace(self.placeholder, origin)

    def stream_token(self, prediction_id: str) -> str:
        """The capability in a prediction's stream address: `{id}-{signature}`."""
        return f"{prediction_id}-{self._signature('stream/' + prediction_id)}"

    def verify_stream(self, token: str) -> str | None:
        """The prediction id of a stream address that this yard made; None for any other."""
        prediction_id, _, signature = token.partition("-")
        right = self._signature("stream/" + prediction_id)
        return prediction_id if hmac.compare_digest(right.encode(), signature.encode()) else None
