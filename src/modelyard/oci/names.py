"""Names of repositories, as the distribution specification has them: parts with slashes between them."""

from __future__ import annotations

import re

PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
RULE = "small letters and digits, with `.`, `_`, `__` or hyphens between them"

_PART = re.compile(PART)


def is_part(text: str) -> bool:
    """Could `text` be one part of a repository's name?"""
    return _PART.fullmatch(text) is not None
