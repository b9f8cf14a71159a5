"""Which version of a model somebody means: OWNER/NAME:VERSION, where VERSION may be the beginning of an id."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from modelyard.cli import client, models
from modelyard.cli.client import Login
from modelyard.errors import NotFound, UsageError

_MOST = 10_000
_ID_LENGTH = 64
_LEAST_OF_AN_ID = 4
# The first so many that fit are named, and so much of each.
_NAMED, _SHOWN = 5, 12


def find(login: Login, spelling: str) -> tuple[str, dict[str, Any]]:
    """The model's name, and the version. Raises UsageError, NotFound."""
    model, colon, version = spelling.partition(":")
    path = models.path_of(model)
    if not colon or len(version) < _LEAST_OF_AN_ID:
        raise UsageError(
            f"{spelling!r} names no version; wanted: OWNER/NAME:VERSION with a version's id, of which at least"
            f" {_LEAST_OF_AN_ID} characters",
            hint=f"yard versions {model} lists them",
        )
    if len(version) >= _ID_LENGTH or not re.fullmatch("[0-9a-f]+", version):
        found: dict[str, Any] = client.call(login, "GET", f"{path}/versions/{quote(version, safe='')}")
        return model, found
    fitting = [one for one in client.pages(login, f"{path}/versions", _MOST) if one["id"].startswith(version)]
    if len(fitting) == 1:
        return model, fitting[0]
    if not fitting:
        raise NotFound(f"{model} has no version that begins with {version}", hint=f"yard versions {model} lists them")
    named = ", ".join(one["id"][:_SHOWN] for one in fitting[:_NAMED])
    more = f" and {len(fitting) - _NAMED:,} more" if len(fitting) > _NAMED else ""
    raise NotFound(
        f"{model} has {len(fitting)} versions that begin with {version}: {named}{more}",
        hint="more of the id tells which",
    )
