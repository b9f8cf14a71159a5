"""Names that nobody chose: ids of rows, tokens and secrets, and what is kept of a token.

An id is 26 lowercase Crockford base32 characters: ten of milliseconds since 1970, sixteen of randomness. Ids made
later sort later, in one process strictly so, which keeps new rows together at the end of every index.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import string
import threading
import time
import uuid

ID_LENGTH = 26
TOKEN_PREFIX = "r8_"  # noqa: S105 - the public form of a token, not one
TOKEN_LENGTH = 37
SECRET_PREFIX = "whsec_"  # noqa: S105 - the public form of a webhook secret, not one
SECRET_BYTES = 24

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_SHIFTS = tuple(range(120, -1, -10))
_ID = re.compile(rf"[{_CROCKFORD}]{{{ID_LENGTH}}}")
_TOKEN_CHARACTERS = string.ascii_letters + string.digits
_RANDOM_BITS = 80
# Two ids of one millisecond differ by a random step, so that a neighbour cannot be guessed from an id.
_STEP_BITS = 56

# Asking the system for randomness gives up the interpreter's lock, so it is asked for many ids at once.
_POOL_BYTES = 4096
_RANDOM_BYTES = _RANDOM_BITS // 8

_lock = threading.Lock()
_last = 0
_pool = memoryview(b"")


def new_id() -> str:
    """A new id, greater than every id made in this process before it."""
    global _last, _pool
    now = (time.time_ns() // 1_000_000) << _RANDOM_BITS
    with _lock:
        if len(_pool) < _RANDOM_BYTES:
            _pool = memoryview(secrets.token_bytes(_POOL_BYTES))
        random = int.from_bytes(_pool[:_RANDOM_BYTES], "big")
        _pool = _pool[_RANDOM_BYTES:]
        if now > _last:
            _last = now | random
        else:
            _last += 1 + (random >> (_RANDOM_BITS - _STEP_BITS))
        number = _last
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def first_at(us: int) -> str:
    """What sorts before every id that is made at this time (microseconds since 1970) or later, and after all others."""
    number = (us // 1000) << _RANDOM_BITS
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def is_id(text: str) -> bool:
    """Could `text` be an id of ours?"""
    return _ID.fullmatch(text) is not None


def new_token() -> str:
    """A bearer token: `r8_` and 37 letters and digits (220 bits)."""
    return TOKEN_PREFIX + "".join(secrets.choice(_TOKEN_CHARACTERS) for _ in range(TOKEN_LENGTH))


def new_ticket() -> str:
    """What a link or a session of a browser is worth: 43 characters that an address may hold (256 bits)."""
    return secrets.token_urlsafe(32)


def new_secret() -> str:
    """A webhook signing secret as Standard Webhooks writes it: `whsec_` and base64 of 24 bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def new_push_id() -> str:
    """The id of one push, as others read it: a UUID of version 7, whose first 48 bits are milliseconds since 1970."""
    number = (time.time_ns() // 1_000_000) << _RANDOM_BITS | int.from_bytes(secrets.token_bytes(_RANDOM_BYTES))
    number = number & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))


def token_hash(token: str) -> str:
    """What is stored of a token: the hex SHA-256. A token has enough randomness to need neither salt nor stretching."""
    return hashlib.sha256(token.encode()).hexdigest()
