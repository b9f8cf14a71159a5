"""How a push goes: how many layers at once, and in which pieces. Cog's variables say it here too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from modelyard.errors import UsageError
from modelyard.oci.client import remote

AT_ONCE: Final = "COG_PUSH_CONCURRENCY"
WHOLE: Final = "COG_PUSH_MULTIPART_THRESHOLD"
PIECE: Final = "COG_PUSH_DEFAULT_CHUNK_SIZE"
_DIGITS = re.compile(r"0*([0-9]{1,15})")


class Pace(NamedTuple):
    """So many layers at once. What has no more than `whole_bytes` goes in one piece, the rest in `piece_bytes` each."""

    at_once: int = 5
    whole_bytes: int = remote.PIECE_BYTES
    piece_bytes: int = remote.PIECE_BYTES


USUAL: Final = Pace()


def read(environ: Mapping[str, str]) -> Pace:
    """What the variables say. Raises UsageError."""
    return Pace(
        at_once=_number(environ, AT_ONCE, USUAL.at_once, "a number of layers at once, from 1"),
        whole_bytes=_number(environ, WHOLE, USUAL.whole_bytes, "a number of bytes, from 1"),
        piece_bytes=_number(environ, PIECE, USUAL.piece_bytes, "a number of bytes, from 1"),
    )


def _number(environ: Mapping[str, str], name: str, usual: int, wanted: str) -> int:
    told = environ.get(name, "").strip()
    if not told:
        return usual
    match = _DIGITS.fullmatch(told)
    found = int(match[1]) if match else 0
    if found < 1:
        raise UsageError(f"{name} is {told[:100]!r}; wanted: {wanted}", hint=f"unset {name} for {usual}")
    return found
