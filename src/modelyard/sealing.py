"""Values that must not be read from a copy of the database: sealed with a key that is not in it (AES-256-GCM).

A sealed value is text: `1.KEY.DATA`, where KEY names the key without giving it away, so that a wrong key and a changed
value are told apart. What it was sealed for goes into the seal: it cannot be opened for another row or name.
"""

from __future__ import annotations

import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import durable
from modelyard.errors import ModelyardError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = logging.getLogger(__name__)

FILE_NAME = "secret.key"
KEY_BYTES = 32
FORM = "32 bytes as 64 hexadecimal digits or as base64"
_NONCE_BYTES = 12
_FORMAT = "1"


class SealError(ModelyardError):
    """A value cannot be sealed or opened; the detail says which key is missing or wrong, never a value."""

    code = "sealed"
    title = "A secret cannot be read"


def parse_key(text: str) -> bytes:
    """The key that a text spells. Raises ValueError."""
    plain = "".join(text.split())
    if len(plain) == 2 * KEY_BYTES:
        return bytes.fromhex(plain)
    key = b64decode(plain.replace("-", "+").replace("_", "/") + "=" * (-len(plain) % 4), validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError(f"{len(key)} bytes")
    return key


class Sealer:
    """Seals and opens. `given`: the key as the settings spell it; None: a file of `folder`, made on the first need.

    `randomness(n)` gives n bytes that nobody can guess.
    """

    def __init__(self, folder: Path, given: str | None, randomness: Callable[[int], bytes]) -> None:
        self._path = folder / FILE_NAME
        self._key = None if given is None else parse_key(given)
        self._source = str(self._path) if given is None else "setting secret_key (MODELYARD_SECRET_KEY)"
        self._randomness = randomness

    def seal(self, value: str, purpose: str) -> str:
        """The value as it may be stored, to be opened for the same purpose alone. Raises SealError."""
        key = self._key or self._read() or self._make()
        nonce = self._randomness(_NONCE_BYTES)
        data = nonce + _cipher(key).encrypt(nonce, value.encode(), purpose.encode())
        return f"{_FORMAT}.{_name(key)}.{b64encode(data).decode()}"

    def open(self, sealed: str, purpose: str, what: str) -> str:
        """The value again. `what` names it in the error. Raises SealError."""
        form, _, rest = sealed.partition(".")
        name, _, data = rest.partition(".")
        if form != _FORMAT:
            raise SealError(f"{what} is damaged: what is stored was not sealed by this yard.", hint=_AGAIN)
        key = self._key or self._read()
        if key is None:
            raise SealError(
                f"{what} cannot be opened: its key {self._path} is missing.",
                hint=f"Put the file back from a backup (or give the key in MODELYARD_SECRET_KEY). {_AGAIN}",
            )
        if _name(key) != name:
            raise SealError(
                f"{what} cannot be opened: it was sealed with key {name[:16]}, and {self._source} is key {_name(key)}.",
                hint=f"Give the yard the key that it was sealed with. {_AGAIN}",
            )
        return _open(key, data, purpose, what)

    def _read(self) -> bytes | None:
        try:
            text = self._path.read_text("ascii")
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SealError(f"The key {self._path} cannot be read: {error}") from None
        try:
            self._key = parse_key(text)
        except ValueError:
            raise SealError(
                f"The key {self._path} is damaged; wanted: {FORM}.", hint=f"Put it back from a backup. {_AGAIN}"
            ) from None
        if mode & 0o077:
            log.warning("%s can be read by others on this machine; `chmod 600` it", self._path)
        return self._key

    def _make(self) -> bytes:
        """A new key, whole on the disk before anything is sealed with it."""
        key = self._randomness(KEY_BYTES)
        fresh = self._path.with_name(FILE_NAME + ".new")
        try:
            fresh.unlink(missing_ok=True)
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, b64encode(key) + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            fresh.rename(self._path)
            durable.sync(self._path.parent)
        except OSError as error:
            raise SealError(f"The key {self._path} cannot be made: {error.strerror or error}") from None
        log.info("made the key of this yard's secrets: %s", self._path)
        self._key = key
        return key


_AGAIN = "Where that key is lost, so is the value: set it again."


def _open(key: bytes, data: str, purpose: str, what: str) -> str:
    from cryptography.exceptions import InvalidTag

    try:
        raw = b64decode(data, validate=True)
        return _cipher(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode()).decode()
    except (InvalidTag, ValueError):
        raise SealError(
            f"{what} is damaged: what is stored was changed, or was sealed for another place.", hint=_AGAIN
        ) from None


def _name(key: bytes) -> str:
    """What a key is called: it tells keys apart and says nothing of them."""
    import hashlib

    return hashlib.sha256(b"modelyard key\x00" + key).hexdigest()[:8]


def _cipher(key: bytes) -> AESGCM:
    # Most yards and commands seal nothing, and the library takes long to load.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
