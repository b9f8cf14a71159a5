"""Values on their way to and from a Cog server: our files become data URLs, its data URLs become files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from modelyard_runner.folder import Folder
from modelyard_runner.media import content_type, ending_of

# Cog takes requests of at most 100 MiB, and a data URL is a third longer than its file.
MAX_FILE_BYTES = 64 * 1024 * 1024


class TooLargeError(Exception):
    """A file does not fit into a request of Cog's."""


def to_cog(value: Any, files: Mapping[str, str]) -> Any:
    """An input with a data URL for each string that stands for a file of ours. Raises TooLargeError, OSError."""
    if isinstance(value, str):
        path = files.get(value)
        return value if path is None else _data_url(Path(path), value)
    if isinstance(value, list):
        return [to_cog(item, files) for item in value]
    if isinstance(value, dict):
        return {key: to_cog(item, files) for key, item in value.items()}
    return value


def _data_url(path: Path, name: str) -> str:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TooLargeError(
            f"an input file has {size / 2**20:.0f} MiB; an image that Cog built takes files of this yard up to"
            f" {MAX_FILE_BYTES // 2**20} MiB. Send the address of a larger one, or push the project with `yard push`."
        )
    kind = content_type(name.partition("?")[0])
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def from_cog(value: Any, folder: Folder) -> Any:
    """An output with a file for each data URL. Raises OSError."""
    if isinstance(value, str):
        return _file(value, folder) if value.startswith("data:") else value
    if isinstance(value, list):
        return [from_cog(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: from_cog(item, folder) for key, item in value.items()}
    return value


def _file(url: str, folder: Folder) -> Any:
    head, comma, data = url.removeprefix("data:").partition(",")
    if not comma:
        return url
    kind, *parameters = head.split(";")
    try:
        content = base64.b64decode(data, validate=True) if "base64" in parameters else unquote_to_bytes(data)
    except binascii.Error:
        return url
    path = Path(folder.new("outputs", f"output{ending_of(kind)}"))
    path.write_bytes(content)
    return path
