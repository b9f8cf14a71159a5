"""Which extension a kind of file has, and the other way round: the pairs that Cog uses."""

from __future__ import annotations

import base64
import mimetypes

_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/x-ms-bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/svg+xml": ".svg",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/ogg": ".oga",
    "audio/webm": ".weba",
    "audio/opus": ".opus",
    "video/mp4": ".mp4",
    "video/mpeg": ".mpeg",
    "video/ogg": ".ogv",
    "video/webm": ".webm",
    "video/x-msvideo": ".avi",
    "text/plain": ".txt",
    "text/html": ".html",
    "text/csv": ".csv",
    "text/markdown": ".md",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/x-tar": ".tar",
    "application/octet-stream": ".bin",
    "model/gltf-binary": ".glb",
    "model/obj": ".obj",
    "model/mtl": ".mtl",
}
_TYPES = {extension: kind for kind, extension in reversed(_EXTENSIONS.items())}


def of_name(name: str) -> str | None:
    """The media type of a file of this name, None for an unknown extension."""
    dot = name.rfind(".")
    return _TYPES.get(name[dot:].lower()) if dot > 0 else None


def extension(kind: str, name: str) -> str:
    """The extension for a file of this media type that its maker called `name`; "" when nothing tells.

    A type that says nothing (`application/octet-stream`) leaves the maker's own extension.
    """
    dot = name.rfind(".")
    own = name[dot:] if dot > 0 else ""
    plain = kind.partition(";")[0].strip().lower()
    if plain == "application/octet-stream" and own:
        return own
    return _EXTENSIONS.get(plain) or mimetypes.guess_extension(plain) or own


def data_url(kind: str, content: bytes) -> str:
    """These bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
