"""Where weights come from, in one spelling."""

from __future__ import annotations

_FILE = "file://"


def normalised(uri: str) -> str:
    """One spelling for each source: a path is `file://./x` inside the project, `file:///x` elsewhere."""
    scheme, colon, rest = uri.partition("://")
    if colon and scheme != "file":
        return uri
    path = rest if colon else uri
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/"):
        return f"{_FILE}/{'/'.join(parts)}"
    if parts[:1] == [".."]:
        return _FILE + "/".join(parts)
    return f"{_FILE}./{'/'.join(parts)}"


def scheme_of(uri: str) -> str:
    """`file`, `hf`, `https` or `http`."""
    return normalised(uri).partition("://")[0]
